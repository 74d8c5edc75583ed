"""Reads the TOML files that operators write; what is wrong with one is said in one sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from darkroom.errors import ConfigurationError

_M = TypeVar("_M", bound=BaseModel)


def load_toml(path: Path, *, what: str) -> dict[str, Any]:
    """Read a file's tables; `what` names its kind in error messages ("policy", "word list").

    Raises:
        ConfigurationError: it can't be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{what} {path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{what} {path} is not valid TOML: {error}") from error


def read_toml(path: Path, model: type[_M], *, what: str) -> _M:
    """Read and check a file.

    Raises:
        ConfigurationError: with the file, the key and what is wrong with it.
    """
    tables = load_toml(path, what=what)
    try:
        return model.model_validate(tables)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise ConfigurationError(f"{what} {path}: {key}: {first['msg']}") from error
