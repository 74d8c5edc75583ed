"""Tells when certificates end, so that an alert comes before they do: the signing one, and those of servers we call.

A server's is read off its handshake, once an hour, and never trusted here: whether it may be spoken to is decided where
that is done. A server that does not answer has no figure; that it is away is told elsewhere.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from darkroom.metrics import Metrics
from worker.periodic import Periodic

ROUND_SECONDS = 3_600.0
CONNECT_SECONDS = 10.0
_PORTS: Mapping[str, int] = {"https": 443, "rediss": 6379}
Certificates = Mapping[str, Callable[[], x509.Certificate]]


class CertificateDates(Periodic):
    """The thread that looks."""

    def __init__(self, certificates: Certificates, *, metrics: Metrics) -> None:
        """`certificates` are ways to read them, by the name that the metric gives them."""
        super().__init__("certificates", seconds=0)
        self._certificates = certificates
        self._metrics = metrics

    def round(self) -> float:
        for name, read in self._certificates.items():
            with suppress(OSError, ValueError):
                end = read().not_valid_after_utc.timestamp()
                self._metrics.certificate_end.labels(name).set(end)
        return ROUND_SECONDS


def watched(*, signing: Path | None, urls: Mapping[str, str | None]) -> Certificates:
    """The certificate in the file `signing`, and those behind the URLs that begin a handshake."""
    found: dict[str, Callable[[], x509.Certificate]] = {}
    if signing is not None:
        found["c2pa"] = lambda: x509.load_pem_x509_certificates(signing.read_bytes())[0]
    for name, url in urls.items():
        if url is not None and urlsplit(url).scheme in _PORTS:
            found[name] = _handshake(url)
    return found


def _handshake(url: str) -> Callable[[], x509.Certificate]:
    place = urlsplit(url)
    host, port = place.hostname or "", place.port or _PORTS[place.scheme]

    def read() -> x509.Certificate:
        # Only the date is read; nothing is sent, so nobody needs to be trusted.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((host, port), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            certificate = secure.getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(certificate or b"")

    return read
