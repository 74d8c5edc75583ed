"""`python -m api` serves."""

from __future__ import annotations

from api.main import main

main()
