"""`darkroom policies`: which safety policies there are, whether a file is one, and who let it count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import redis
import typer
from rich.table import Column, Table

from cli.connection import Data
from cli.console import results, say
from cli.data_folder import DEFAULT
from cli.stores import redis_of
from darkroom.errors import ConfigurationError
from darkroom.keys import KeyStore, Scope
from darkroom.policy_approvals import PolicyApprovals
from darkroom.settings import SafetySettings
from safety.narrowing import is_at_least_as_strict
from safety.policy_set import Policies, read_policy_file

app = typer.Typer(no_args_is_help=True, help="List, check, propose and approve safety policies.")
File = Annotated[Path, typer.Argument(help="A policy file, NAME.toml.", exists=True, dir_okay=False)]
Key = Annotated[
    str, typer.Option(envvar="DARKROOM_ADMIN_KEY", help="Your own API key: scope admin, made with --person.")
]


@app.command("list")
def list_policies(*, data: Data = DEFAULT) -> None:
    """List the policies: those that ship, and those of DARKROOM_POLICY_DIR."""
    settings = SafetySettings.from_env()
    policies = Policies(settings.policy_dir, default=settings.policy)
    approvals = {}
    if settings.policy_approval:
        with redis_of(data) as client:
            approvals = dict(PolicyApprovals(client).all())
    default = policies.of(None)
    table = Table(Column("policy", no_wrap=True), "digest", "as strict as the default", "approved by", "description")
    for file in policies.now().values():
        approval = approvals.get(file.digest)
        strict = "yes" if is_at_least_as_strict(file.policy, default) else "no"
        approver = (approval.approved_by if approval else None) or ""
        table.add_row(file.policy.label, file.digest[:12], strict, approver, file.policy.description)
    results().print(table)


@app.command()
def check(file: File) -> None:
    """Say whether a file is a policy, and what is wrong with it if not."""
    found = read_policy_file(file)
    print(f"{found.policy.label} {found.digest}")


@app.command()
def propose(file: File, *, key: Key, data: Data = DEFAULT) -> None:
    """Put a file up for approval by somebody else."""
    found = read_policy_file(file)
    with redis_of(data) as client:
        approval = PolicyApprovals(client).propose(found.digest, found.policy.label, person=_person(client, key))
    say(f"{approval.label} is proposed by {approval.proposed_by}: {found.digest}")


@app.command()
def approve(file: File, *, key: Key, data: Data = DEFAULT) -> None:
    """Let a file count that somebody else has proposed; read it first."""
    found = read_policy_file(file)
    with redis_of(data) as client:
        approval = PolicyApprovals(client).approve(found.digest, person=_person(client, key))
    say(f"{approval.label} counts, by {approval.proposed_by} and {approval.approved_by}.")


def _person(client: redis.Redis, token: str) -> str:
    key = KeyStore(client).verify(token)
    if key is None or Scope.ADMIN not in key.scopes or key.person is None:
        raise ConfigurationError("this takes a valid key with the scope admin that names the person who holds it")
    return key.person
