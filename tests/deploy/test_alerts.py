"""Alerts: Prometheus' own tool runs their cases, each has its page, and what they ask for is what the code tells."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from darkroom.metrics import WAIT_BUCKETS, Metrics, describe
from tests.fixtures.debian import promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
_METRIC = re.compile(r"\bdarkroom_\w+")
_SUFFIX = re.compile(r"_(?:bucket|count|sum)$")
_SECTIONS = ("## What it means", "## Look at", "## Do")


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in _rules() if "alert" in rule}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_alert_fires_and_stays_silent() -> None:
    done = subprocess.run(
        [promtool(), "test", "rules", "alerts_test.yml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(
        [promtool(), "check", "rules", "alerts.yml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_a_case_of_either_kind(name: str) -> None:
    cases = yaml.safe_load((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]

    expected = [bool(case["promql_expr_test"][0]["exp_samples"]) for case in cases if case["name"].split()[0] == name]
    assert set(expected) == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_how_urgent_it_is_and_leads_to_its_page(name: str) -> None:
    rule = ALERTS[name]

    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    page = (ROOT / rule["annotations"]["runbook_url"]).read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n")
    assert [line for line in page.splitlines() if line.startswith("## ")] == list(_SECTIONS)


def test_no_page_is_left_of_an_alert_that_is_gone() -> None:
    assert {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")} == ALERTS.keys()


def test_table_of_the_docs_lists_every_alert_with_its_severity() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")

    listed = dict(re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| (\w+) \|", page, flags=re.MULTILINE))
    assert listed == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


def test_rules_ask_for_what_the_code_tells() -> None:
    told = {info.name for info in describe(Metrics())}

    asked = {found for rule in _rules() for found in _METRIC.findall(rule["expr"])}
    assert asked
    assert sorted(name for name in asked if name not in told and _SUFFIX.sub("", name) not in told) == []


def test_pages_name_metrics_that_the_code_tells() -> None:
    told = {info.name for info in describe(Metrics())}

    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "runbooks").glob("*.md"))
    assert sorted(set(_METRIC.findall(pages)) - told) == []


def test_targets_of_the_objective_are_buckets() -> None:
    """A bucket that is not there has no series, and the alert could never fire."""
    asked = {bound for rule in _rules() for bound in re.findall(r'le="([\d.]+)"', rule["expr"])}

    assert asked
    assert {float(bound) for bound in asked} <= {float(bound) for bound in WAIT_BUCKETS}
