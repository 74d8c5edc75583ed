"""Prompts that are rewritten: which proposals pass, and what is never rewritten."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from darkroom.errors import CheckUnavailable
from safety.pipeline import PromptSubject, SafetyPipeline
from safety.policy import Policy
from safety.verdict import Category, Decision, Finding, Rewrite, Verdict
from tests.safety.probes import HARMLESS, SECRET, ProbeCheck, fail


class ProbeRewriter:
    """Proposes what a test chooses; it notes how often it was asked."""

    name = "probe_rewriter"

    def __init__(self, proposal: Callable[[PromptSubject], Any]) -> None:
        self.proposal = proposal
        self.asked = 0

    def rewrite(self, subject: PromptSubject, findings: Sequence[Finding]) -> Any:
        assert findings
        self.asked += 1
        return self.proposal(subject)


def score_words(words: dict[str, tuple[Category, float]]) -> ProbeCheck:
    """A check that scores the words of a text."""

    def answer(subject: PromptSubject) -> list[Finding]:
        return [Finding(*words[word], "probe") for word in subject.text.split() if word in words]

    return ProbeCheck(answer)


WORDS = {
    "zarn": (Category.violence, 1.0),
    "zorn": (Category.violence, 0.6),
    "murk": (Category.hate, 1.0),
    "maybe": (Category.custom, 0.6),
    "qilt": (Category.minors, 0.5),
}


def rewriting_policy(**prompt: Any) -> Policy:
    text = {"actions": {"violence": "rewrite"}, **prompt}
    return Policy.model_validate({"schema": 1, "name": "mild", "version": 1, "prompt": text})


def swap(**words: str) -> Callable[[PromptSubject], PromptSubject]:
    def proposal(subject: PromptSubject) -> PromptSubject:
        return replace(subject, prompt=" ".join(words.get(word, word) for word in subject.prompt.split()))

    return proposal


def rewritten(
    prompt: str,
    *proposals: Callable[[PromptSubject], Any],
    policy: Policy | None = None,
    triggers: tuple[str, ...] = (),
) -> Verdict:
    pipeline = SafetyPipeline(
        policy=policy or rewriting_policy(),
        prompt_checks=[score_words(WORDS)],
        rewriters=[ProbeRewriter(proposal) for proposal in proposals],
    )
    return pipeline.check_prompt(PromptSubject(prompt, triggers=triggers))


def test_rewritten_prompt_is_checked_again_and_goes_on() -> None:
    verdict = rewritten("a zarn", swap(zarn="tree"))

    assert (verdict.decision, verdict.reason, verdict.rewrite) == (
        Decision.REWRITE,
        "prompt_violence",
        Rewrite("a tree"),
    )
    assert SECRET not in repr(replace(verdict, rewrite=Rewrite(SECRET, SECRET)))


def test_ambiguous_word_is_rewritten_rather_than_held() -> None:
    assert rewritten("a zorn", swap(zorn="tree")).decision is Decision.REWRITE


@pytest.mark.parametrize(
    ("proposal", "of"),
    [
        (swap(zarn="murk"), "what another category refuses"),
        (swap(zarn="zorn"), "what would be rewritten again"),
        (swap(zarn="zarn"), "the prompt itself"),
        (lambda _: None, "nothing"),
        (lambda _: "a tree", "no subject"),
        (lambda _: PromptSubject(""), "no prompt"),
        (lambda _: PromptSubject("a" * 2001), "more than a request may hold"),
        (lambda _: PromptSubject("a\x00tree"), "a control character"),
        (lambda _: PromptSubject("a tree", triggers=("b",)), "other adapters"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_proposal_does_not_pass(proposal: Callable[[PromptSubject], Any], of: str) -> None:
    verdict = rewritten("a zarn", proposal)

    assert (verdict.decision, verdict.reason, verdict.rewrite) == (Decision.BLOCK, "prompt_violence", None), of


def test_next_rewriter_is_asked_when_a_proposal_does_not_pass() -> None:
    assert rewritten("a zarn", swap(zarn="murk"), swap(zarn="tree")).rewrite == Rewrite("a tree")


def test_each_rewriter_is_asked_once() -> None:
    rewriter = ProbeRewriter(swap(zarn="zorn"))

    SafetyPipeline(policy=rewriting_policy(), prompt_checks=[score_words(WORDS)], rewriters=[rewriter]).check_prompt(
        PromptSubject("zarn")
    )

    assert rewriter.asked == 1


def test_rewritten_prompt_may_still_need_a_person() -> None:
    verdict = rewritten("maybe a zarn", swap(zarn="tree"))

    assert (verdict.decision, verdict.reason, verdict.rewrite) == (
        Decision.REVIEW,
        "prompt_custom",
        Rewrite("maybe a tree"),
    )


def test_nothing_is_rewritten_beside_what_is_refused() -> None:
    rewriter = ProbeRewriter(swap(zarn="tree", murk="tree"))
    pipeline = SafetyPipeline(policy=rewriting_policy(), prompt_checks=[score_words(WORDS)], rewriters=[rewriter])

    assert pipeline.check_prompt(PromptSubject("zarn murk")).reason in {"prompt_hate", "prompt_violence"}
    assert rewriter.asked == 0


def test_words_of_adapters_are_judged_and_never_rewritten() -> None:
    assert rewritten("a tree", swap(zarn="tree"), triggers=("zarn",)).decision is Decision.BLOCK


def test_negative_prompt_is_hardened_only_where_the_policy_says_so() -> None:
    def proposal(_: PromptSubject) -> PromptSubject:
        return PromptSubject("a tree", "blood")

    assert rewritten("zarn", proposal).rewrite == Rewrite("a tree", "blood")
    assert rewritten("zarn", proposal, policy=rewriting_policy(harden_negative_prompt=False)).rewrite == Rewrite(
        "a tree"
    )


def test_broken_rewriter_gives_no_verdict() -> None:
    with pytest.raises(CheckUnavailable, match="the rewriter probe_rewriter failed with ValueError") as caught:
        rewritten(f"zarn {SECRET}", fail)

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_policy_without_rewriting_asks_no_rewriter() -> None:
    assert rewritten("zarn", swap(zarn="tree"), policy=HARMLESS).decision is Decision.BLOCK


def test_minors_finding_is_never_rewritten() -> None:
    verdict = rewritten("zarn qilt", swap(zarn="tree", qilt="tree"))

    assert (verdict.decision, verdict.reason) == (Decision.BLOCK, "prompt_minors")
