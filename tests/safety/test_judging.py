from __future__ import annotations

from darkroom.judgements import Judgement, Score, Waived, decode_judgements, encode_judgements
from safety.judging import judgement_of, waivers_of
from safety.verdict import Category, Decision, Finding, PromptField, Stage, Verdict, Waiver


def test_record_keeps_the_highest_score_of_each_layer_and_no_place() -> None:
    findings = (
        Finding(Category.hate, 0.5, "list", 0, 4, PromptField.PROMPT),
        Finding(Category.hate, 1.0, "list", 9, 12, PromptField.PROMPT),
        Finding(Category.hate, 0.2, "guard"),
    )
    watched = (Finding(Category.custom, 0.3, "new"),)
    verdict = Verdict(Decision.BLOCK, "prompt_hate", Category.hate, "house@1", findings, shadow=watched)

    judgement = judgement_of(verdict, Stage.PROMPT)

    assert judgement == Judgement(
        "prompt",
        "block",
        "prompt_hate",
        "hate",
        policy="house@1",
        scores=(Score("hate", "list", 1.0), Score("hate", "guard", 0.2)),
        shadow=(Score("custom", "new", 0.3),),
    )
    assert decode_judgements(encode_judgements([judgement])) == (judgement,)


def test_record_of_an_earlier_release_has_no_shadow() -> None:
    stored = '[{"stage": "image", "decision": "allow", "reason": null, "category": null, "scores": []}]'

    assert decode_judgements(stored) == (Judgement("image", "allow", None, None),)


def test_waived_findings_of_a_record_are_waivers() -> None:
    assert waivers_of([Waived("self-harm", "list")]) == (Waiver(Category.self_harm, "list"),)
