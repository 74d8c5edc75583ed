"""`darkroom webhooks`: where the service tells of your jobs, what came of it, and sending again. Over the API."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from cli.connection import Data, Key, Url, connect
from cli.console import results, say
from cli.data_folder import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Manage the webhook endpoints of your key's owner.")
EndpointId = Annotated[str, typer.Argument(help="The id that `list` shows.")]


@app.command()
def create(
    receiver: Annotated[str, typer.Argument(help="URL that events are posted to.")],
    *,
    event: Annotated[list[str] | None, typer.Option(help="Type to send, like job.succeeded; repeat for more.")] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    url: Url = None,
    api_key: Key = None,
    data: Data = DEFAULT,
) -> None:
    """Make an endpoint and print its secret, this once."""
    body = {"url": receiver, "events": event or [], "description": description}
    with connect(url, api_key, data) as client:
        made = client.webhooks("POST", body=body)
    print(made["secret"])
    say(f"Endpoint {made['id']}. Keep its secret now: it is not shown again.")


@app.command("list")
def list_endpoints(*, url: Url = None, api_key: Key = None, data: Data = DEFAULT) -> None:
    """List the endpoints, without their secrets."""
    with connect(url, api_key, data) as client:
        answer = client.webhooks("GET")
    table = Table(Column("id", no_wrap=True), "url", "events", "sends", "description")
    for endpoint in answer["endpoints"]:
        sends = "yes" if endpoint["enabled"] else f"no ({endpoint['disabled_because']})"
        events = " ".join(endpoint["events"]) or "all but job.progress"
        table.add_row(endpoint["id"], endpoint["url"], events, sends, endpoint["description"])
    results().print(table)


@app.command("test")
def send_test(endpoint: EndpointId, *, url: Url = None, api_key: Key = None, data: Data = DEFAULT) -> None:
    """Have a test event sent; `attempts` shows what came of it."""
    with connect(url, api_key, data) as client:
        sent = client.webhooks("POST", f"/{endpoint}/test")
    say(f"Event {sent['event_id']} is on its way.")


@app.command()
def attempts(endpoint: EndpointId, *, url: Url = None, api_key: Key = None, data: Data = DEFAULT) -> None:
    """Show what came of the latest deliveries."""
    with connect(url, api_key, data) as client:
        answer = client.webhooks("GET", f"/{endpoint}/attempts")
    table = Table("at", "type", "job", "attempt", "result", "reply", "seconds")
    for entry in answer["attempts"]:
        reply = str(entry["status"] or entry["failure"])
        row = (entry["at"][:19], entry["type"], entry["job_id"] or "", str(entry["attempt"]), entry["result"], reply)
        table.add_row(*row, f"{entry['seconds']:g}")
    results().print(table)


@app.command()
def rotate(
    endpoint: EndpointId,
    *,
    overlap: Annotated[int, typer.Option(min=0, help="Seconds for which the secret before goes on signing.")] = 86_400,
    url: Url = None,
    api_key: Key = None,
    data: Data = DEFAULT,
) -> None:
    """Replace an endpoint's secret and print the new one, this once."""
    with connect(url, api_key, data) as client:
        rotated = client.webhooks("POST", f"/{endpoint}/rotate", {"overlap_seconds": overlap})
    print(rotated["secret"])
    say(f"Both secrets sign for {overlap} seconds. Keep the new one now: it is not shown again.")


@app.command()
def enable(endpoint: EndpointId, *, url: Url = None, api_key: Key = None, data: Data = DEFAULT) -> None:
    """Send to an endpoint again that was disabled."""
    with connect(url, api_key, data) as client:
        client.webhooks("PATCH", f"/{endpoint}", {"enabled": True})
    say(f"Endpoint {endpoint} is enabled.")


@app.command()
def disable(endpoint: EndpointId, *, url: Url = None, api_key: Key = None, data: Data = DEFAULT) -> None:
    """Keep an endpoint, and send nothing there."""
    with connect(url, api_key, data) as client:
        client.webhooks("PATCH", f"/{endpoint}", {"enabled": False})
    say(f"Endpoint {endpoint} is disabled.")


@app.command()
def delete(endpoint: EndpointId, *, url: Url = None, api_key: Key = None, data: Data = DEFAULT) -> None:
    """Forget an endpoint."""
    with connect(url, api_key, data) as client:
        client.webhooks("DELETE", f"/{endpoint}")
    say(f"Endpoint {endpoint} is deleted.")


@app.command()
def undelivered(*, url: Url = None, api_key: Key = None, data: Data = DEFAULT) -> None:
    """List the events that were given up."""
    with connect(url, api_key, data) as client:
        answer = client.webhooks("GET", "/undelivered")
    table = Table(Column("id", overflow="fold"), "type", "endpoint", "attempts", "reason", "given up")
    for event in answer["undelivered"]:
        given_up = (event["given_up_at"] or "")[:19]
        table.add_row(
            event["id"], event["type"], event["endpoint_id"], str(event["attempts"]), event["reason"], given_up
        )
    results().print(table)


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids that `undelivered` shows; all by default.")] = None,
    *,
    url: Url = None,
    api_key: Key = None,
    data: Data = DEFAULT,
) -> None:
    """Send undelivered events again."""
    with connect(url, api_key, data) as client:
        answer = client.webhooks("POST", "/undelivered/replay", {"ids": ids} if ids else {})
    say(f"{answer['replayed']} events are on their way.")


@app.command()
def secret(*, url: Url = None, api_key: Key = None, data: Data = DEFAULT) -> None:
    """Replace the secret of the webhooks that jobs name themselves, and print it, this once."""
    with connect(url, api_key, data) as client:
        print(client.webhooks("POST", "/secret", {})["secret"])
    say("The secret before goes on signing for a day. Keep the new one now: it is not shown again.")
