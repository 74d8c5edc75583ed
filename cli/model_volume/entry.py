"""The lines of `catalogue.toml` that let a pulled model be used, read off its own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DEFAULT_SIDE = 512
_SCALE = 8  # pixels of a latent's side


def catalogue_entry(name: str, folder: Path, licence: str) -> str:
    """A table for the catalogue; what it leaves out has defaults."""
    kind = str(_read(folder / "model_index.json").get("_class_name", ""))
    unet = _read(folder / "unet" / "config.json")
    size = unet.get("sample_size")
    side = size * _SCALE if isinstance(size, int) else DEFAULT_SIDE
    lines = [
        f"[models.{name}]" if "." not in name else f'[models."{name}"]',
        f"source = {{ folder = {json.dumps(str(folder.absolute()))} }}",
        f'family = "{"sdxl" if "XL" in kind else "sd"}"',
        f"licence = {json.dumps(licence, ensure_ascii=False)}",
        f"native_sizes = [[{side}, {side}]]",
        f"max_side = {side * 2}",
        f"max_pixels = {side * side * 3 // 2}",
    ]
    return "\n".join([*lines, *(['inpaint = "native"'] if unet.get("in_channels") == 9 else [])])


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
