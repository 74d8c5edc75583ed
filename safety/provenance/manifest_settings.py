"""How the C2PA library behaves wherever we use it: it fetches nothing, and makes no thumbnails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

QUIET: Mapping[str, Any] = {
    "version": 1,
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
