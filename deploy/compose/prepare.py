"""Makes what the services need before they start: secrets, each drawn once and kept, and volumes that their user owns.

Runs as the first container and ends. The environment names the folders; docker-compose.yml is where they are listed.
A second run changes nothing but a certificate that is about to run out.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from safety.provenance.credentials import CERT_FILE, KEY_FILE, is_usable, make_credentials

VALKEY_CONFIG = """\
bind {bind}
port {port}
requirepass {password}
dir {data}
appendonly yes
appendfsync everysec
maxmemory {maxmemory}
maxmemory-policy noeviction
save ""
"""


class Preparation:
    """Writes files for one user alone."""

    def __init__(self, owner: str) -> None:
        self._uid, self._gid = (int(part) for part in owner.split(":"))

    def folder(self, path: Path) -> None:
        path.chmod(0o700)
        os.chown(path, self._uid, self._gid)

    def write(self, path: Path, text: str) -> str:
        """Write the file, all of it or nothing."""
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
            file.write(text)
        os.chown(fresh, self._uid, self._gid)
        fresh.replace(path)
        return text

    def once(self, path: Path, draw: Callable[[], str]) -> str:
        """What the file holds; drawn where there is none."""
        return path.read_text() if path.exists() else self.write(path, draw())


def main() -> None:
    """Prepare everything."""
    folders = {
        name: Path(os.environ[f"{name}_SECRETS"]) for name in ("DARKROOM", "DELIVERY", "VALKEY", "GARAGE", "GRAFANA")
    }
    authority = Path(os.environ["AUTHORITY"])
    preparation = Preparation(os.environ["OWNER"])
    for folder in (*folders.values(), *map(Path, os.environ["FOLDERS"].split())):
        preparation.folder(folder)
    _jobs(preparation, folders)
    _objects(preparation, folders)
    _certificate(preparation, authority, folders["DARKROOM"])
    preparation.once(folders["GRAFANA"] / "admin-password", lambda: secrets.token_urlsafe(18))
    print("prepared")


def _jobs(preparation: Preparation, folders: dict[str, Path]) -> None:
    password = preparation.once(folders["DARKROOM"] / "redis-password", lambda: secrets.token_urlsafe(32))
    seal = preparation.once(folders["DARKROOM"] / "seal-keys", _seal_key)
    preparation.write(folders["DELIVERY"] / "redis-password", password)
    preparation.write(folders["DELIVERY"] / "seal-keys", seal)
    preparation.write(folders["VALKEY"] / "password", password)
    values = {name: os.environ[f"VALKEY_{name.upper()}"] for name in ("bind", "port", "data", "maxmemory")}
    text = VALKEY_CONFIG.format(password=password, **values)
    preparation.write(folders["VALKEY"] / "valkey.conf", text)


def _objects(preparation: Preparation, folders: dict[str, Path]) -> None:
    preparation.once(folders["GARAGE"] / "rpc-secret", lambda: secrets.token_hex(32))
    preparation.once(folders["GARAGE"] / "admin-token", lambda: secrets.token_urlsafe(32))
    preparation.once(folders["DARKROOM"] / "s3-credentials", _s3_credentials)


def _certificate(preparation: Preparation, authority: Path, target: Path) -> None:
    if not is_usable(authority):
        make_credentials(authority, organisation="Darkroom")
    for name, shown in ((CERT_FILE, "c2pa-cert.pem"), (KEY_FILE, "c2pa-key.pem")):
        preparation.write(target / shown, (authority / name).read_text())


def _seal_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode() + "\n"


def _s3_credentials() -> str:
    # Garage takes keys of this form alone.
    return (
        f"[default]\naws_access_key_id = GK{secrets.token_hex(12)}\naws_secret_access_key = {secrets.token_hex(32)}\n"
    )


if __name__ == "__main__":
    main()
