"""The proof: `python -m bench.reliability` runs every check at full size; each adds a line to `results.jsonl`.

A run that was cut goes on with `--resume`: checks that have a line of the same size, seed and day are left out.
`--report` writes `docs/reliability.md` anew from the newest line of each check, once they have run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.reliability.checks.table import CHECKS
from bench.reliability.homes import Homes, open_homes
from bench.reliability.trial import Check, Outcome, Trial

RESULTS = Path(__file__).with_name("results.jsonl")


def main() -> int:
    words = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an orderly end, which leaves no process behind
    chosen = [check for check in CHECKS if not words.check or check.name in words.check]
    done = _done(words) if words.resume else set()
    folder = Path(tempfile.mkdtemp(prefix="reliability-"))
    print(f"seed {words.seed}, scale {words.scale:g}, in {folder}", flush=True)
    with open_homes(folder) as homes:
        lines = [_record(check, words, homes, folder) for check in chosen if check.name not in done]
    held = all(lines)  # and not a generator: a check that did not hold must not end the others
    if held and not words.keep:
        shutil.rmtree(folder, ignore_errors=True)
    if words.report:
        from bench.reliability.report import write_report  # noqa: PLC0415 - needed only here

        write_report(words.results)
    return 0 if held else 1


def _record(check: Check, words: argparse.Namespace, homes: Homes, folder: Path) -> bool:
    """Run one check and add its line; whether it held."""
    line = _run(check, words, Trial(homes, folder / check.name, seed=words.seed, scale=words.scale))
    with words.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
    return bool(line["held"])


def _run(check: Check, words: argparse.Namespace, trial: Trial) -> dict[str, Any]:
    """The line of one check; a check that itself breaks is a line too."""
    began, load = time.monotonic(), os.getloadavg()[0]
    try:
        outcome = check.run(trial)
    except Exception as error:  # noqa: BLE001 - the other checks still count
        traceback.print_exc()
        outcome = Outcome(figures={}, broken=(f"the check itself broke: {type(error).__name__}: {error}",))
    return {
        "check": check.name,
        "number": check.number,
        "held": outcome.held,
        "broken": list(outcome.broken),
        "figures": dict(outcome.figures),
        "settings": dict(outcome.settings),
        "seed": words.seed,
        "scale": words.scale,
        "took_seconds": round(time.monotonic() - began),
        "load_before": round(load, 1),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _done(words: argparse.Namespace) -> set[str]:
    today = datetime.now(UTC).date().isoformat()
    if not words.results.exists():
        return set()
    lines = map(json.loads, words.results.read_text(encoding="utf-8").splitlines())
    return {
        line["check"]
        for line in lines
        if (line["seed"], line["scale"], line["date"]) == (words.seed, words.scale, today) and line["held"]
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.reliability", description=__doc__)
    parser.add_argument("--check", action="append", choices=[check.name for check in CHECKS], help="only this one")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full counts (default: 1)")
    parser.add_argument("--seed", type=int, default=20_261_121)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--resume", action="store_true", help="leave out what held today at this scale and seed")
    parser.add_argument("--keep", action="store_true", help="keep the logs of checks that held, too")
    parser.add_argument("--report", action="store_true", help="write docs/reliability.md afterwards")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
