"""Which service a command speaks to: `--url` and `--api-key`, their variables, or the data folder's running one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.client import Client, ServiceUnreachable
from cli.data_folder import DEFAULT, DataFolder, Session

Url = Annotated[str | None, typer.Option(envvar="DARKROOM_URL", help="Where the service is.")]
Key = Annotated[str | None, typer.Option(envvar="DARKROOM_API_KEY", help="API key.", show_envvar=True)]
Data = Annotated[Path, typer.Option(help="Folder of a running `darkroom up`, asked when no URL is given.")]


def connect(url: str | None, api_key: str | None, data: Path = DEFAULT) -> Client:
    """The client for what the options name.

    Raises:
        ServiceUnreachable: there is no service to speak to, or no key for it.
    """
    session = running(data) if url is None or api_key is None else None
    if url is None:
        if session is None:
            raise ServiceUnreachable(
                f"No service runs on {data}. Start one with `darkroom up`, or name one with --url and --api-key."
            )
        url = session.url
    if api_key is None:
        if session is None or session.url != url.rstrip("/"):
            raise ServiceUnreachable(f"An API key for {url} is needed: pass --api-key or set DARKROOM_API_KEY.")
        api_key = session.api_key
    return Client(url, api_key)


def running(data: Path) -> Session | None:
    """The service on that folder."""
    return DataFolder(data).session()
