"""`python -m cli` is the `darkroom` command."""

from __future__ import annotations

from cli.main import main

main()
