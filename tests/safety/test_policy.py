from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError
from safety.policy import POLICIES, Policy, load_policy
from safety.verdict import Category, Decision, Finding, PromptField, Stage

SHIPPED = (POLICIES / "default.toml").read_text(encoding="utf-8")


def make_finding(score: float, category: Category = Category.sexual, field: PromptField | None = None) -> Finding:
    return Finding(category, score, "some_check", field=field)


def write_policy(folder: Path, *, old: str = "", new: str = "") -> Path:
    path = folder / "house.toml"
    path.write_text(SHIPPED.replace(old, new) if old else SHIPPED, encoding="utf-8")
    return path


def test_default_policy_has_the_promised_image_bars() -> None:
    policy = load_policy()

    assert policy.label == "default@1"
    assert (policy.image.default.review, policy.image.default.block) == (0.01, 0.05)
    assert policy.required_checks(Stage.PROMPT) == ("prompt_wordlist",)
    assert policy.required_checks(Stage.IMAGE) == ()


@pytest.mark.parametrize(
    ("stage", "score", "decision"),
    [
        (Stage.PROMPT, 0.49, Decision.ALLOW),
        (Stage.PROMPT, 0.5, Decision.REVIEW),  # a bar belongs to what lies above it
        (Stage.PROMPT, 0.89, Decision.REVIEW),
        (Stage.PROMPT, 0.9, Decision.BLOCK),
        (Stage.IMAGE, 0.0, Decision.ALLOW),
        (Stage.IMAGE, 0.01, Decision.REVIEW),
        (Stage.IMAGE, 0.05, Decision.BLOCK),
        (Stage.IMAGE, 1.0, Decision.BLOCK),
    ],
)
def test_score_is_judged_by_the_stages_bars(stage: Stage, score: float, decision: Decision) -> None:
    assert load_policy().judge(stage, [make_finding(score)], checks=["some_check"]).decision is decision


def test_strictest_finding_decides_and_names_the_reason() -> None:
    findings = [make_finding(0.6, Category.hate), make_finding(0.95, Category.self_harm), make_finding(0.1)]

    verdict = load_policy().judge(Stage.PROMPT, findings, checks=["some_check"])

    assert (verdict.decision, verdict.reason) == (Decision.BLOCK, "prompt_self_harm")
    assert verdict.category is Category.self_harm
    assert verdict.findings == tuple(findings)


def test_no_finding_is_allowed_without_a_reason() -> None:
    verdict = load_policy().judge(Stage.IMAGE, [], checks=["some_check"])

    assert (verdict.decision, verdict.reason, verdict.category) == (Decision.ALLOW, None, None)


def test_category_may_have_bars_of_its_own(tmp_path: Path) -> None:
    path = write_policy(tmp_path)
    path.write_text(SHIPPED + "\n[image.thresholds.custom]\nreview = 0.5\nblock = 0.9\n", encoding="utf-8")
    policy = load_policy(path)

    assert policy.decide(Stage.IMAGE, make_finding(0.6, Category.custom)) is Decision.REVIEW
    assert policy.decide(Stage.IMAGE, make_finding(0.6)) is Decision.BLOCK
    assert policy.decide(Stage.PROMPT, make_finding(0.6, Category.custom)) is Decision.REVIEW


def test_exempt_category_decides_nothing_in_the_negative_prompt_only() -> None:
    policy = load_policy()

    def decide(category: Category, field: PromptField) -> Decision:
        return policy.decide(Stage.PROMPT, make_finding(1.0, category, field))

    assert decide(Category.violence, PromptField.NEGATIVE_PROMPT) is Decision.ALLOW
    assert decide(Category.violence, PromptField.PROMPT) is Decision.BLOCK
    assert decide(Category.minors, PromptField.NEGATIVE_PROMPT) is Decision.BLOCK


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("schema = 1", "schema = 2", "schema: Input should be 1"),
        ("version = 1", "", "version: Field required"),
        ("version = 1", "version = 0", "version: Input should be greater than or equal to 1"),
        ('name = "default"', 'name = "My Policy"', "name: String should match pattern"),
        ("review = 0.01", "review = 0.5", "image.default: Value error, review must not be above block"),
        ("block = 0.05", "block = 1.5", "image.default.block: Input should be less than or equal to 1"),
        ("block = 0.05", "block = nan", "image.default.block: Input should be a finite number"),
        ("review = 0.01", "review = 0.0", "image.default.review: Input should be greater than 0"),
        ("[image.default]", "[image.defaults]", "image.defaults: Extra inputs are not permitted"),
        ("[image.default]", "[image.thresholds.weather]", "image.thresholds.weather"),
        ('"self-harm"]', '"minors"]', "negative_prompt_exempt can't hold minors"),
        ("schema = 1", "schema =", "is not valid TOML"),
    ],
)
def test_faulty_file_is_refused_with_a_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = write_policy(tmp_path, old=old, new=new)

    with pytest.raises(ConfigurationError) as caught:
        load_policy(path)

    assert sentence in caught.value.detail
    assert str(path) in caught.value.detail
    assert "\n" not in caught.value.detail


def test_missing_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read: No such file"):
        load_policy(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("name", ["nowhere", "../default", "", "default.toml"])
def test_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigurationError, match="there are: default"):
        load_policy(name)


def test_shipped_file_says_what_the_model_says_by_default() -> None:
    bare = Policy.model_validate({"schema": 1, "name": "bare", "version": 1})
    shipped = load_policy()

    assert (shipped.prompt.default, shipped.image.default) == (bare.prompt.default, bare.image.default)


@pytest.mark.parametrize("bars", ["review = 1.0\nblock = 1.0", "review = 0.9\nblock = 1.0"])
@pytest.mark.parametrize(("stage", "score"), [(Stage.PROMPT, 0.5), (Stage.PROMPT, 1.0), (Stage.IMAGE, 0.05)])
def test_no_file_loosens_the_rule_on_minors(tmp_path: Path, bars: str, stage: Stage, score: float) -> None:
    path = write_policy(tmp_path)
    loose = f"{SHIPPED}\n[prompt.thresholds.minors]\n{bars}\n[image.thresholds.minors]\n{bars}\n"
    path.write_text(loose, encoding="utf-8")

    assert load_policy(path).decide(stage, make_finding(score, Category.minors)) is Decision.BLOCK


def test_file_may_tighten_the_rule_on_minors(tmp_path: Path) -> None:
    path = write_policy(tmp_path)
    path.write_text(f"{SHIPPED}\n[prompt.thresholds.minors]\nreview = 0.2\nblock = 0.9\n", encoding="utf-8")
    policy = load_policy(path)

    assert policy.decide(Stage.PROMPT, make_finding(0.2, Category.minors)) is Decision.BLOCK  # and never held
    assert policy.decide(Stage.PROMPT, make_finding(0.19, Category.minors)) is Decision.ALLOW


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('shadow = ["prompt_wordlist"]', "shadow can't hold prompt_wordlist"),
        ('[prompt.actions]\nminors = "rewrite"', "actions can't rewrite minors"),
        ('[prompt.actions]\nhate = "allow"', "prompt.actions.hate"),
        ('[image.actions]\nhate = "rewrite"', "image.actions: Extra inputs are not permitted"),
        ('[safe_guidance]\nlevel = "much"', "safe_guidance.level"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "house.toml"
    path.write_text(f'schema = 1\nname = "house"\nversion = 1\n{line}\n', encoding="utf-8")

    with pytest.raises(ConfigurationError) as caught:
        load_policy(path)

    assert sentence in caught.value.detail


def test_required_check_can_not_be_in_shadow() -> None:
    with pytest.raises(ValueError, match="image_classifier can't be both required and in shadow"):
        Policy.model_validate(
            {
                "schema": 1,
                "name": "torn",
                "version": 1,
                "shadow": ["image_classifier"],
                "image": {"required_checks": ["image_classifier"]},
            }
        )
