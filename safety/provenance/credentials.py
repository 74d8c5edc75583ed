"""The certificate that signs manifests: made for one deployment, or brought along.

`make_credentials` writes an authority of the deployment's own and a signing certificate under it, as C2PA asks for
them. Viewers that don't know the authority call what it signed "unknown issuer"; our own readers trust it. Knows
files and certificates, no image.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from darkroom.errors import ConfigurationError
from darkroom.settings import ProvenanceSettings

CA_DAYS, LEAF_DAYS, LEFT_DAYS = 3_650, 825, 30
CERT_FILE, KEY_FILE, CA_FILE, CA_KEY_FILE = "c2pa-cert.pem", "c2pa-key.pem", "c2pa-ca.pem", "c2pa-ca-key.pem"
_CURVES: Mapping[str, str] = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_NO_USE = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclass(frozen=True)
class Credentials:
    """What a signer needs, as PEM. `chain` starts with the signing certificate."""

    algorithm: str
    chain: bytes
    key: bytes = field(repr=False)
    tsa_url: str | None = None

    @classmethod
    def from_settings(cls, settings: ProvenanceSettings) -> Credentials | None:
        """Those that the settings name, or None.

        Raises:
            ConfigurationError: a file can't be read, is not what it should be, or the two don't fit.
        """
        if settings.c2pa_cert_file is None or settings.c2pa_key_file is None:
            return None
        chain = _read(settings.c2pa_cert_file, "DARKROOM_C2PA_CERT_FILE")
        key = _read(settings.c2pa_key_file, "DARKROOM_C2PA_KEY_FILE")
        try:
            certificate = x509.load_pem_x509_certificates(chain)[0]
        except (ValueError, IndexError):
            raise ConfigurationError("DARKROOM_C2PA_CERT_FILE: the file holds no certificate in PEM") from None
        try:
            private = serialization.load_pem_private_key(key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigurationError(
                "DARKROOM_C2PA_KEY_FILE: the file holds no private key in PEM without a passphrase"
            ) from None
        if _public(private.public_key()) != _public(certificate.public_key()):
            raise ConfigurationError("DARKROOM_C2PA_KEY_FILE: the key is not that of DARKROOM_C2PA_CERT_FILE")
        if certificate.not_valid_after_utc <= dt.datetime.now(dt.UTC):
            raise ConfigurationError("DARKROOM_C2PA_CERT_FILE: the certificate has expired")
        return cls(_algorithm(private), chain, key, settings.c2pa_tsa_url)


def trust_anchors(settings: ProvenanceSettings) -> bytes:
    """The certificates that a reader trusts, as PEM; may be empty.

    Raises:
        ConfigurationError: the file can't be read.
    """
    if settings.c2pa_trust_file is not None:
        return _read(settings.c2pa_trust_file, "DARKROOM_C2PA_TRUST_FILE")
    if settings.c2pa_cert_file is None:
        return b""
    chain = x509.load_pem_x509_certificates(_read(settings.c2pa_cert_file, "DARKROOM_C2PA_CERT_FILE"))
    return b"".join(_pem(certificate) for certificate in chain[1:] or chain)


def make_credentials(folder: Path, *, organisation: str) -> Path:
    """Make an authority and a signing certificate in the folder; returns the certificate's file.

    An authority that is there already signs a new certificate, so that its readers go on trusting.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(minutes=5)
    ca, ca_key = _read_ca(folder) or _make_ca(folder, organisation, now)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _make_leaf(key, ca, ca_key, organisation, now)
    _write(folder / KEY_FILE, _private_pem(key), mode=0o600)
    _write(folder / CERT_FILE, _pem(leaf) + _pem(ca), mode=0o644)
    return folder / CERT_FILE


def is_usable(folder: Path) -> bool:
    """Whether the folder has a signing certificate that is good for a month more."""
    try:
        certificate = x509.load_pem_x509_certificates((folder / CERT_FILE).read_bytes())[0]
    except (OSError, ValueError, IndexError):
        return False
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return left > dt.timedelta(days=LEFT_DAYS) and (folder / KEY_FILE).exists()


def _make_ca(folder: Path, organisation: str, now: dt.datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(organisation, "Darkroom content credentials authority")
    ca = (
        _builder(name, name, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**{**_NO_USE, "key_cert_sign": True, "crl_sign": True}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder / CA_KEY_FILE, _private_pem(key), mode=0o600)
    _write(folder / CA_FILE, _pem(ca), mode=0o644)
    return ca, key


def _make_leaf(
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    organisation: str,
    now: dt.datetime,
) -> x509.Certificate:
    return (
        _builder(_name(organisation, "Darkroom content credentials"), ca.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**_NO_USE, "digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _read_ca(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    if not (folder / CA_FILE).exists() or not (folder / CA_KEY_FILE).exists():
        return None
    try:
        ca = x509.load_pem_x509_certificate((folder / CA_FILE).read_bytes())
        key = serialization.load_pem_private_key((folder / CA_KEY_FILE).read_bytes(), password=None)
    except (ValueError, TypeError, OSError):
        raise ConfigurationError(f"The authority's files in {folder} can't be read.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"The authority's key in {folder} is of another kind.")
    return ca, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _name(organisation: str, common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _algorithm(key: object) -> str:
    """C2PA's name of the signature that a key makes."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise ConfigurationError("DARKROOM_C2PA_KEY_FILE: the key must be of P-256, P-384, P-521, Ed25519 or RSA")


def _read(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{variable}: the file can't be read ({error.strerror})") from None


def _write(path: Path, data: bytes, *, mode: int) -> None:
    """All of it or nothing, with those rights from the start."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
    fresh.replace(path)
