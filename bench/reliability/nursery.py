"""Starts Python processes of the service fast: `python -m bench.reliability.nursery MODULE...` imports, then forks.

A worker takes seconds to import torch, and a killed one is needed back at once. Orders come as JSON lines on standard
input, and what happened goes out as JSON lines on standard output. A child runs `python -m MODULE` as ever; it differs
only in that its imports were made before the fork. Children die with the nursery.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import sys
import traceback
from typing import Any, NoReturn

from cli.child import die_with_parent

TICK_SECONDS = 0.02


def main(modules: list[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    _say(ready=True)
    waiting = b""
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], TICK_SECONDS)
        if readable:
            read = os.read(sys.stdin.fileno(), 1 << 20)
            if not read:
                return
            *lines, waiting = (waiting + read).split(b"\n")
            for order in map(json.loads, lines):
                _say(order=order["order"], pid=_fork(order))
        _bury()


def _bury() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _say(ended=pid, code=os.waitstatus_to_exitcode(status))


def _fork(order: dict[str, Any]) -> int:
    ask = die_with_parent(signal.SIGKILL)
    pid = os.fork()
    if not pid:
        if ask:
            ask()
        _become(order)
    return pid


def _become(order: dict[str, Any]) -> NoReturn:
    """Turn this fork into the process that the order describes."""
    code = 1
    try:
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(order["environment"])
        for hook in order["hooks"]:
            module, _, name = hook.partition(":")
            getattr(importlib.import_module(module), name)()
        sys.argv[1:] = []
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
        if isinstance(leaving.code, str):
            sys.stderr.write(leaving.code + "\n")
    except BaseException:  # noqa: BLE001 - a fork must never go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _say(**fact: Any) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
