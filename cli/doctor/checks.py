"""The table of checks: the name, the look, what it needs, and the fix where the look itself can't be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import redis

from cli.doctor import files, job_store, network, storage
from cli.doctor.accelerator import accelerator
from cli.doctor.finding import Finding, State, Verdict
from cli.doctor.place import Place
from darkroom.errors import DarkroomError

_SERVER = "Start Redis or Valkey, and let DARKROOM_REDIS_URL name it; check password, certificates and firewall."
_RIGHTS = "Run the doctor as a user of Redis who may run INFO and TIME: let DARKROOM_REDIS_URL name one for the moment."
_BUCKET = "Check endpoint, bucket and keys: DARKROOM_S3_*, or the folder's rights: DARKROOM_OBJECT_STORE_FOLDER."


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    look: Callable[[Place], Verdict]
    fix: str  # where the look ends in an error
    needs: str | None = None  # the check without which this one says nothing


CHECKS = (
    Check("settings", files.settings, "Change the variable that is named."),
    Check("gpu", accelerator, "Install PyTorch again: pip install -c constraints/gpu.txt torch, or cpu.txt."),
    Check("catalogue", files.catalogue, "Change the entry that is named, or let DARKROOM_CATALOGUE name another file."),
    Check(
        "policies", files.policies, "Change the file that is named; `darkroom policies check FILE` says if it is one."
    ),
    Check("owners", files.owners, "Change the file that DARKROOM_OWNERS_FILE names."),
    Check("prices", files.prices, "Change the file that DARKROOM_PRICES_FILE names."),
    Check("secret file", files.secret_file, "Make or mend the file: (umask 077; openssl rand -base64 32 > FILE)."),
    Check("certificate", files.certificate, "Mend the files, or make new ones with `darkroom keys c2pa`."),
    Check("disk", storage.disk, _BUCKET),
    Check("object store", storage.object_store, _BUCKET),
    Check("redis", job_store.reachable, _SERVER),
    Check("redis version", job_store.version, _RIGHTS, "redis"),
    Check("redis eviction", job_store.eviction, _RIGHTS, "redis"),
    Check("redis memory", job_store.memory, _RIGHTS, "redis"),
    Check("redis append-only file", job_store.append_only, _RIGHTS, "redis"),
    Check("redis persistence", job_store.persistence, _RIGHTS, "redis"),
    Check("clock", job_store.clock, _RIGHTS, "redis"),
    Check("workers", job_store.workers, _RIGHTS, "redis"),
    Check("api port", network.api_port, "Change DARKROOM_HOST or DARKROOM_PORT."),
    Check(
        "metrics ports",
        network.metrics_ports,
        "Change DARKROOM_API_METRICS_PORT, DARKROOM_METRICS_PORT or DARKROOM_DELIVERY_METRICS_PORT.",
    ),
    Check("webhook egress", network.egress, "Let the delivery process connect out, directly: it uses no proxy."),
)


def examine(place: Place, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Look at everything; no fault keeps the next look from being taken."""
    found: dict[str, Finding] = {}
    for check in checks:
        needed = found.get(check.needs) if check.needs else None
        verdict = (
            Verdict(State.SKIPPED, f"It needs `{check.needs}`.")
            if needed is not None and needed.state is State.FAILED
            else _look(check, place)
        )
        found[check.name] = Finding(check.name, verdict.state, verdict.said, verdict.fix)
    return list(found.values())


def _look(check: Check, place: Place) -> Verdict:
    try:
        return check.look(place)
    except DarkroomError as error:
        return Verdict(State.FAILED, error.detail, check.fix)
    except redis.AuthenticationError:
        return Verdict(State.FAILED, "The server refuses our user or password.", check.fix)
    except redis.exceptions.NoPermissionError:  # our own roles may not ask this (docs/security.md)
        return Verdict(State.WARNING, "This user of Redis may not ask for it.", check.fix)
    except redis.ResponseError as error:
        return Verdict(State.FAILED, f"The server refuses a command ({str(error).split(' ', 1)[0]}).", check.fix)
    except (OSError, ValueError) as error:  # a broken URL, a file system's fault: never the value itself
        return Verdict(State.FAILED, f"It can't be looked at ({type(error).__name__}).", check.fix)
