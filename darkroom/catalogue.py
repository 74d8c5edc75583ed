"""What may be run: models and adapters, read from `catalogue.toml` and checked before anything starts.

A model's source is a local folder in diffusers' format, one `.safetensors` file, or a hub id with a pinned revision.
Tenants name catalogue entries, never paths or repositories. Loads no weights and no torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from darkroom.errors import ConfigurationError
from darkroom.schedulers import SCHEDULERS

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Side = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_E = TypeVar("_E", bound=_Entry)


class Source(_Entry):
    """Where weights lie: exactly one of `folder`, `file`, `hub`."""

    folder: Path | None = None
    file: Path | None = None
    config: Path | None = None  # for `file`: a local diffusers folder with the model's configs
    hub: str | None = None
    revision: Revision | None = None  # 40 hex digits; required with `hub`, so that a push can't change what runs

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.folder, self.file, self.hub)) != 1:
            raise ValueError("needs exactly one of folder, file, hub")
        if (self.hub is None) != (self.revision is None):
            raise ValueError("hub and revision (a 40-digit commit) belong together")
        if self.file is not None and self.file.suffix != ".safetensors":
            raise ValueError("file must be a .safetensors file")
        return self


class ModelSpec(_Entry):
    """One model that callers may name, with its limits and its defaults."""

    name: Name
    source: Source
    family: Literal["sd"] = "sd"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"  # auto: fp16 on CUDA, fp32 on a CPU
    description: str = ""
    licence: str
    native_sizes: Annotated[tuple[tuple[Side, Side], ...], Field(min_length=1)]  # (width, height); the first is default
    min_side: Side = 64
    max_side: Side = 1024
    max_pixels: int = Field(1024 * 1024, gt=0)
    max_tokens: int = Field(77, gt=2)  # start and end token included
    few_step: bool = False  # distilled for 1-8 steps
    scheduler: str = "dpmpp_2m"
    num_inference_steps: int = Field(25, ge=1)
    guidance_scale: float = Field(7.5, ge=0)

    @property
    def width(self) -> int:
        return self.native_sizes[0][0]

    @property
    def height(self) -> int:
        return self.native_sizes[0][1]

    @property
    def tokenizer_file(self) -> Path | None:
        """The model's `tokenizer.json`, where the weights are a local folder that has one."""
        root = self.source.folder or self.source.config
        path = root / "tokenizer" / "tokenizer.json" if root else None
        return path if path and path.is_file() else None

    @model_validator(mode="after")
    def _defaults_are_legal(self) -> Self:
        info = SCHEDULERS.get(self.scheduler)
        if info is None:
            raise ValueError(f"scheduler {self.scheduler!r} is unknown; there are {', '.join(SCHEDULERS)}")
        if not info.min_steps <= self.num_inference_steps <= info.max_steps:
            raise ValueError(f"num_inference_steps must be {info.min_steps} to {info.max_steps} for {self.scheduler}")
        for width, height in self.native_sizes:
            inside = self.min_side <= min(width, height) and max(width, height) <= self.max_side
            if not inside or width * height > self.max_pixels:
                raise ValueError(f"native size {width}x{height} is outside min_side, max_side or max_pixels")
        return self


class AdapterSpec(_Entry):
    """One LoRA that an operator has installed."""

    name: Name
    model: Name  # the model it was trained for
    file: Path
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    licence: str
    description: str = ""


class Catalogue(_Entry):
    """Everything that may be run, by name."""

    models: Mapping[str, ModelSpec]
    adapters: Mapping[str, AdapterSpec] = {}
    default: str

    @property
    def default_model(self) -> ModelSpec:
        return self.models[self.default]


def load_catalogue(path: Path) -> Catalogue:
    """Read and check a catalogue file; relative paths in it start at its own folder.

    Raises:
        ConfigurationError: with one sentence that names the file, the entry and what to change.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"catalogue {path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"catalogue {path} is not valid TOML: {error}") from error
    unknown = set(raw) - {"default", "models", "adapters"}
    if unknown:
        raise ConfigurationError(f"catalogue {path}: unknown key {min(unknown)!r} at the top level")
    models = {name: _entry(ModelSpec, path, "models", name, body) for name, body in _table(raw, "models", path)}
    adapters = {name: _entry(AdapterSpec, path, "adapters", name, body) for name, body in _table(raw, "adapters", path)}
    return _checked(path, models, adapters, raw.get("default"))


def _checked(path: Path, models: dict[str, ModelSpec], adapters: dict[str, AdapterSpec], default: object) -> Catalogue:
    if not models:
        raise ConfigurationError(f"catalogue {path} has no [models.NAME] entry")
    if default is None and len(models) == 1:
        default = next(iter(models))
    if not isinstance(default, str) or default not in models:
        raise ConfigurationError(f"catalogue {path}: `default` must name one of {', '.join(models)}")
    for adapter in adapters.values():
        if adapter.model not in models:
            raise ConfigurationError(f"catalogue {path}: adapters.{adapter.name} names no model of this catalogue")
    return Catalogue(models=models, adapters=adapters, default=default)


def _table(raw: Mapping[str, Any], key: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    table = raw.get(key, {})
    if not isinstance(table, dict) or not all(isinstance(body, dict) for body in table.values()):
        raise ConfigurationError(f"catalogue {path}: `{key}` must hold tables, [{key}.NAME]")
    return list(table.items())


def _entry(kind: type[_E], path: Path, table: str, name: str, body: dict[str, Any]) -> _E:
    where = f"catalogue {path}, {table}.{name}"
    if "name" in body:
        raise ConfigurationError(f"{where}: name: leave it out, the name is the table's own")
    try:
        entry = kind.model_validate({**_rooted(body, path.parent), "name": name})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "entry"
        raise ConfigurationError(f"{where}: {field}: {first['msg']}") from error
    missing = _missing_path(entry)
    if missing is not None:
        raise ConfigurationError(f"{where}: {missing} does not exist")
    return entry


def _rooted(body: dict[str, Any], root: Path) -> dict[str, Any]:
    """Make the entry's paths absolute."""
    rooted = dict(body)
    if isinstance(rooted.get("file"), str):
        rooted["file"] = root / rooted["file"]
    if isinstance(rooted.get("source"), dict):
        source = rooted["source"]
        rooted["source"] = {
            key: root / value if key in {"folder", "file", "config"} and isinstance(value, str) else value
            for key, value in source.items()
        }
    return rooted


def _missing_path(entry: _Entry) -> Path | None:
    if isinstance(entry, ModelSpec):
        source = entry.source
        if source.folder is not None and not (source.folder / "model_index.json").is_file():
            return source.folder / "model_index.json"
        paths = [path for path in (source.file, source.config) if path is not None]
    else:
        paths = [entry.file] if isinstance(entry, AdapterSpec) else []
    return next((path for path in paths if not path.exists()), None)
