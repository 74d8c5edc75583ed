"""Which rewriters a process has: the tables always, a language model where one is named."""

from __future__ import annotations

from darkroom.settings import RewriterSettings
from safety.defaults import all_rewriters, build_prompt_pipeline, quick_rewriters
from safety.policy import Policy
from safety.subjects import PromptSubject
from safety.verdict import Decision, Rewrite
from tests.safety.model_server import model_server, says, sends

REWRITING = Policy.model_validate(
    {"schema": 1, "name": "gentle", "version": 1, "prompt": {"actions": {"illegal": "rewrite"}}}
)
# Listed, but no table has a replacement for it.
SUBJECT = PromptSubject("a counterfeit banknote template on a desk")


def test_without_a_url_there_is_no_language_model() -> None:
    names = [rewriter.name for rewriter in all_rewriters(RewriterSettings())]

    assert names == [rewriter.name for rewriter in quick_rewriters()]


def test_language_model_is_asked_last_and_its_text_is_used_once_it_passes() -> None:
    with model_server(says('{"prompt": "a banknote drawing on a desk", "negative_prompt": ""}')) as server:
        pipeline = build_prompt_pipeline(REWRITING, rewriter=RewriterSettings(url=server.url, model="editor"))
        verdict = pipeline.check_prompt(SUBJECT)

    assert verdict.decision is Decision.REWRITE
    assert verdict.rewrite == Rewrite("a banknote drawing on a desk", "")
    assert len(server.asked) == 1


def test_text_that_does_not_pass_is_no_way_round_the_checks() -> None:
    with model_server(says('{"prompt": "a fake id template on a desk", "negative_prompt": ""}')) as server:
        pipeline = build_prompt_pipeline(REWRITING, rewriter=RewriterSettings(url=server.url, model="editor"))
        verdict = pipeline.check_prompt(SUBJECT)

    assert (verdict.decision, verdict.rewrite) == (Decision.BLOCK, None)


def test_clean_prompt_is_not_sent_anywhere() -> None:
    with model_server(sends(b"", status=500)) as server:
        pipeline = build_prompt_pipeline(REWRITING, rewriter=RewriterSettings(url=server.url, model="editor"))
        verdict = pipeline.check_prompt(PromptSubject("a banknote drawing on a desk"))

    assert verdict.decision is Decision.ALLOW
    assert server.asked == []
