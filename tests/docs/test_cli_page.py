"""docs/cli.md names the commands that there are, with options that they take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.command_table import command_table
from cli.main import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\$ (darkroom .*)$", PAGE, re.MULTILINE)


def test_the_table_is_that_of_the_commands() -> None:
    assert PAGE.partition("## Every command\n\n")[2].splitlines() == command_table(app).splitlines()


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_that_is_shown_takes_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    options = [word for word in words if word.startswith("--")]
    names = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]

    said = CliRunner().invoke(app, [*names, "--help"], terminal_width=200)
    assert (said.exit_code, [option for option in options if option not in said.output]) == (0, [])
