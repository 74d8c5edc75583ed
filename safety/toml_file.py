"""Reads one of safety's TOML files into its model; what is wrong with a file is said in one sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from darkroom.errors import ConfigurationError

_M = TypeVar("_M", bound=BaseModel)


def read_toml(path: Path, model: type[_M], *, what: str) -> _M:
    """Read and check a file; `what` names its kind in error messages ("policy", "word list").

    Raises:
        ConfigurationError: with the file, the key and what is wrong with it.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{what} {path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{what} {path} is not valid TOML: {error}") from error
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise ConfigurationError(f"{what} {path}: {key}: {first['msg']}") from error
