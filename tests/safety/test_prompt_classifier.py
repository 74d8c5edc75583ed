"""The prompt classifier: transformers' own files, the operator's meaning of each label, every window looked at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import pipeline

from darkroom.errors import CheckUnavailable, ConfigurationError
from safety.model_source import ModelSource
from safety.pipeline import SafetyPipeline
from safety.policy import Policy
from safety.prompt.classifier import ClassifierCheck, LabelTable, load_label_table
from safety.subjects import PromptSubject
from safety.verdict import Category, PromptField
from tests.safety.tiny_text_models import save_classifier

LABELS = {0: "fine", 1: "gore", 2: "fight", 3: "slur"}
MEANING = {"fine": "benign", "gore": "violence", "fight": "violence", "slur": "hate"}


def table(**changes: Any) -> LabelTable:
    return LabelTable.model_validate({"schema": 1, "activation": "softmax", "labels": MEANING, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    save_classifier(folder, LABELS)
    return folder


def shares(check: ClassifierCheck, text: str) -> dict[Category, float]:
    return {finding.category: finding.score for finding in check.run(PromptSubject(text))}


def expected(folder: Path, text: str) -> Any:
    return {
        each["label"]: each["score"]
        for each in pipeline("text-classification", model=str(folder), device="cpu")(text, top_k=None)
    }


def test_scores_are_those_of_transformers_own_pipeline(folder: Path) -> None:
    theirs = expected(folder, "a duck on a lake")

    ours = shares(ClassifierCheck(str(folder), table()), "a duck on a lake")

    assert ours == pytest.approx(
        {Category.violence: theirs["gore"] + theirs["fight"], Category.hate: theirs["slur"]}, abs=1e-6
    )


def test_independent_labels_count_by_the_strongest(folder: Path) -> None:
    check = ClassifierCheck(str(folder), table(activation="sigmoid"))

    scores = shares(check, "a duck on a lake")

    assert 0 < scores[Category.violence] < 1
    assert scores != shares(ClassifierCheck(str(folder), table()), "a duck on a lake")


def test_what_stands_at_a_long_prompts_end_counts(folder: Path) -> None:
    check = ClassifierCheck(str(folder), table())
    calm, storm = "duck , " * 40, "storm storm lake storm on storm a storm " * 2

    whole = shares(check, calm + storm)

    assert whole != pytest.approx(shares(check, calm), abs=1e-4)


def test_each_text_is_scored_and_named(folder: Path) -> None:
    findings = ClassifierCheck(str(folder), table()).run(PromptSubject("a duck", "a storm"))

    assert [finding.field for finding in findings] == [PromptField.PROMPT] * 2 + [PromptField.NEGATIVE_PROMPT] * 2
    assert {finding.layer for finding in findings} == {"prompt_classifier"}


def test_calibration_maps_the_shares(folder: Path) -> None:
    flat = {"violence": {"points": [[0.0, 0.25], [1.0, 0.25]]}}

    scores = shares(ClassifierCheck(str(folder), table(calibration=flat)), "a duck")

    assert scores[Category.violence] == 0.25
    assert scores[Category.hate] == shares(ClassifierCheck(str(folder), table()), "a duck")[Category.hate]


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ({**MEANING, "joke": "hate"}, "'joke', which the model does not have"),
        ({name: meaning for name, meaning in MEANING.items() if name != "slur"}, "does not name 'slur'"),
        (dict.fromkeys(MEANING, "benign"), "calls every label benign"),
    ],
)
def test_labels_that_do_not_match_stop_the_start(folder: Path, labels: dict[str, str], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        ClassifierCheck(str(folder), table(labels=labels))


def test_weights_that_are_no_numbers_give_no_verdict(tmp_path: Path) -> None:
    model = save_classifier(tmp_path, LABELS)
    with torch.no_grad():
        model.classifier.bias[1] = math.nan
    model.save_pretrained(tmp_path)
    policy = Policy.model_validate({"schema": 1, "name": "house", "version": 1})
    pipeline = SafetyPipeline(policy=policy, prompt_checks=[ClassifierCheck(str(tmp_path), table())])

    with pytest.raises(CheckUnavailable, match="prompt_classifier"):
        pipeline.check_prompt(PromptSubject("a duck"))


def test_folder_without_a_model_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be loaded"):
        ClassifierCheck(str(tmp_path), table())


def test_hub_models_are_pinned_to_a_commit() -> None:
    source = ModelSource.parse("owner/name@" + "a1" * 20)

    assert (source.place, source.revision) == ("owner/name", "a1" * 20)
    assert source.options == {"revision": "a1" * 20, "trust_remote_code": False}


@pytest.mark.parametrize("text", ["owner/name", "owner/name@main", "owner/name@a1b2c3d", "no-such-folder", ""])
def test_unpinned_model_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="commit"):
        ModelSource.parse(text)


def test_local_folder_never_asks_the_network(folder: Path) -> None:
    assert ModelSource.parse(str(folder)).options["local_files_only"] is True


def test_table_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.toml"
    path.write_text('schema = 1\nactivation = "sigmoid"\n[labels]\nfine = "benign"\ngore = "violence"\n')

    assert load_label_table(path).labels == {"fine": "benign", "gore": Category.violence}


def test_unknown_category_in_the_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.toml"
    path.write_text('schema = 1\nactivation = "sigmoid"\n[labels]\ngore = "gory"\n')

    with pytest.raises(ConfigurationError, match=r"labels\.toml"):
        load_label_table(path)
