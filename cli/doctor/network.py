"""Checks of addresses: the ports that our processes listen on, and the way out that webhooks take."""

from __future__ import annotations

import errno
import socket
import ssl
import urllib.error
import urllib.request

from cli.doctor.finding import Verdict, failed, fine, skipped, warning
from cli.doctor.place import DEFAULT_EGRESS, Place
from cli.services import HOST
from darkroom.addresses import canonical, why_forbidden
from darkroom.errors import ConfigurationError
from darkroom.settings import ApiSettings, DeliverySettings, WebhookSettings, WorkerSettings

SECONDS = 5.0


def api_port(place: Place) -> Verdict:
    """Free, or taken by our own API."""
    session = place.session
    if session is not None:
        return fine(f"Darkroom answers at {session.url}.") if _is_ours(session.url) else _silent(session.url)
    api = ApiSettings.from_env()
    return _port(api.host, api.port, "DARKROOM_PORT")


def metrics_ports(place: Place) -> Verdict:
    if place.session is not None:
        return _metrics_of_up()
    api, worker, delivery = ApiSettings.from_env(), WorkerSettings.from_env(), DeliverySettings.from_env()
    asked = (
        (api.host, api.api_metrics_port, "DARKROOM_API_METRICS_PORT"),
        (worker.metrics_host, worker.metrics_port, "DARKROOM_METRICS_PORT"),
        (delivery.delivery_metrics_host, delivery.delivery_metrics_port, "DARKROOM_DELIVERY_METRICS_PORT"),
    )
    served = [entry for entry in asked if entry[1]]
    if not worker.metrics_port and not delivery.delivery_metrics_port:
        return warning(
            "Workers and the delivery of webhooks serve no metrics.",
            "Set DARKROOM_METRICS_PORT and DARKROOM_DELIVERY_METRICS_PORT, so that they can be watched.",
        )
    verdicts = [_port(*entry) for entry in served]
    return next((verdict for verdict in verdicts if verdict.fix), verdicts[0])


def egress(place: Place) -> Verdict:
    """Whether a receiver of webhooks could be reached from here, as the delivery process would: directly."""
    host, _, port = (place.egress or DEFAULT_EGRESS).rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigurationError("--egress must be HOST:PORT")
    complain = failed if place.egress else warning
    allowed = WebhookSettings.from_env()
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)})
    except OSError:
        return complain(f"The name {host} can't be resolved.", "Give the delivery process a name server that answers.")
    barred = {why_forbidden(canonical(address), allowed=allowed.networks) for address in found} - {None}
    if barred:
        return complain(
            f"{host} leads to an address that receivers may not have ({', '.join(sorted(map(str, barred)))}).",
            "Allow its network with DARKROOM_WEBHOOK_NETWORKS if you trust it.",
        )
    try:
        with (
            socket.create_connection((host, int(port)), timeout=SECONDS) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secured,
        ):
            return fine(f"{host}:{port} answers by {secured.version()}.")
    except ssl.SSLError:
        return complain(
            f"{host}:{port} answers, but not with a certificate that this machine trusts.",
            "Install the system's CA certificates, or name yours with DARKROOM_DELIVERY_CA_FILE.",
        )
    except OSError as error:
        return complain(
            f"{host}:{port} can't be reached ({error.strerror or type(error).__name__}).",
            "Let the delivery process connect out, directly: it uses no proxy.",
        )


def _metrics_of_up() -> Verdict:
    """It takes the port that is set, on loopback, and any free one otherwise."""
    port = WorkerSettings.from_env().metrics_port
    if not port:
        return skipped("`darkroom up` chooses the ports of metrics itself, and prints them when it has started.")
    url = f"http://{HOST}:{port}"
    if _is_ours(url):
        return fine(f"Darkroom answers at {url}.")
    return warning(
        f"No worker of `darkroom up` serves metrics at {url}.",
        "Start it anew with DARKROOM_METRICS_PORT as it is set here, or scrape the ports that it printed.",
    )


def _port(host: str, port: int, variable: str) -> Verdict:
    if port == 0:
        return fine("Any free port is taken.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            url = f"http://{host}:{port}"
            if error.errno == errno.EADDRINUSE and _is_ours(url):
                return fine(f"Darkroom answers at {url}.")
            return failed(f"{host}:{port} can't be listened on: {error.strerror}.", f"Choose another with {variable}.")
    return fine(f"{host}:{port} is free.")


def _is_ours(url: str) -> bool:
    """Whether one of our processes answers; each has one of these pages."""
    for page in ("/livez", "/healthz", "/metrics"):
        try:
            with urllib.request.urlopen(f"{url}{page}", timeout=SECONDS) as answer:  # noqa: S310 -- an http address
                if answer.status == 200 and (page != "/metrics" or b"darkroom_" in answer.read()):
                    return True
        except urllib.error.HTTPError as error:
            if error.code == 503:  # ours, and not well: that is another check's affair
                return True
        except (urllib.error.URLError, OSError, ValueError):
            continue
    return False


def _silent(url: str) -> Verdict:
    return failed(f"Nothing answers at {url}.", "Look at the API's log in the data folder, and start it again.")
