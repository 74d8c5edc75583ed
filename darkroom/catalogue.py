"""What may be run: models, adapters and embeddings, read from `catalogue.toml` and checked before anything starts.

A model's source is a local folder in diffusers' format, one `.safetensors` file, or a hub id with a pinned revision.
Tenants name catalogue entries, never paths or repositories; operators install adapters, for everybody or for the owners
they list. A file's digest is compared when the catalogue is read. Loads no weights and no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from darkroom.errors import ConfigurationError
from darkroom.names import Name
from darkroom.routing import AliasSpec
from darkroom.schedulers import SCHEDULERS
from darkroom.toml_file import load_toml

Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Owner = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Side = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


MAX_SCALE = 2.0  # of an adapter, either way; beyond it nothing but noise is left
INPAINT_CHANNELS = 9  # of a UNet that takes mask and masked image beside the latents


Capability = Literal["text_to_image", "image_to_image", "inpaint", "refiner"]
MemoryTier = Literal["auto", "full", "slicing", "offload"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_E = TypeVar("_E", bound=BaseModel)


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
    family: Literal["sd", "sdxl"] = "sd"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"  # auto: fp16 on CUDA, fp32 on a CPU
    description: str = ""
    licence: str
    native_sizes: Annotated[tuple[tuple[Side, Side], ...], Field(min_length=1)]  # (width, height); the first is default
    min_side: Side = 64
    max_side: Side = 1024
    max_pixels: int = Field(1024 * 1024, gt=0)
    max_tokens: int = Field(77, gt=2)  # of one chunk of a prompt, start and end token included
    few_step: bool = False  # distilled for 1-8 steps
    inpaint: Literal["blend", "native", "none"] = "blend"  # native: a UNet of 9 channels, which can do nothing else
    refiner: Name | None = None  # the model that may take the last part of the noise over
    memory: MemoryTier = "auto"
    scheduler: str = "dpmpp_2m"
    num_inference_steps: int = Field(25, ge=1)
    guidance_scale: float = Field(7.5, ge=0)

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What it can do with a request, in the words of `GET /models`."""
        can: Mapping[Capability, bool] = {
            "text_to_image": self.inpaint != "native",
            "image_to_image": self.inpaint != "native",
            "inpaint": self.inpaint != "none",
            "refiner": self.refiner is not None,
        }
        return tuple(capability for capability, able in can.items() if able)

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
    sha256: Digest
    licence: str
    description: str = ""
    trigger: str = Field("", max_length=200)  # words that call the style up in a prompt
    default_scale: float = Field(1.0, ge=-MAX_SCALE, le=MAX_SCALE)
    owners: tuple[Owner, ...] = ()  # empty: everybody

    def visible_to(self, owner: str) -> bool:
        return not self.owners or owner in self.owners


class EmbeddingSpec(_Entry):
    """One textual-inversion embedding: a word that prompts for its model may use."""

    name: Name
    model: Name
    file: Path
    sha256: Digest
    token: Annotated[str, StringConstraints(pattern=r"^[^\s,:()\[\]\\]{1,64}$")]
    licence: str = ""
    description: str = ""


class Catalogue(_Entry):
    """Everything that may be run, by name."""

    models: Mapping[str, ModelSpec]
    adapters: Mapping[str, AdapterSpec] = {}
    embeddings: Mapping[str, EmbeddingSpec] = {}
    aliases: Mapping[str, AliasSpec] = {}
    withdrawn: tuple[Name, ...] = ()  # models whose waiting jobs fail; those of one that is merely missing wait
    default: str  # a model or an alias

    def adapters_of(self, owner: str) -> Mapping[str, AdapterSpec]:
        """The adapters that this owner may use; of the others it never hears."""
        return {name: spec for name, spec in self.adapters.items() if spec.visible_to(owner)}

    def tokens_of(self, model: str) -> tuple[str, ...]:
        """The words that embeddings add to a model's prompts."""
        return tuple(spec.token for spec in self.embeddings.values() if spec.model == model)

    @property
    def default_model(self) -> ModelSpec:
        """What a request without a model gets, as far as no route decides otherwise."""
        alias = self.aliases.get(self.default)
        return self.models[alias.main if alias else self.default]

    @property
    def names(self) -> tuple[str, ...]:
        """What a request may name as its model."""
        return (*self.models, *self.aliases)


def load_catalogue(path: Path) -> Catalogue:
    """Read and check a catalogue file; relative paths in it start at its own folder.

    Raises:
        ConfigurationError: with one sentence that names the file, the entry and what to change.
    """
    raw = load_toml(path, what="catalogue")
    unknown = set(raw) - {"default", "withdrawn", *_TABLES}
    if unknown:
        raise ConfigurationError(f"catalogue {path}: unknown key {min(unknown)!r} at the top level")
    models, aliases = _entries(ModelSpec, raw, path), _entries(AliasSpec, raw, path)
    catalogue = Catalogue(
        models=models,
        aliases=aliases,
        withdrawn=_withdrawn(path, models, raw.get("withdrawn", [])),
        adapters=_entries(AdapterSpec, raw, path),
        embeddings=_entries(EmbeddingSpec, raw, path),
        default=_default(path, models, aliases, raw.get("default")),
    )
    _require_models(path, catalogue)
    _require_variants(path, catalogue)
    return catalogue


def _default(path: Path, models: Mapping[str, ModelSpec], aliases: Mapping[str, AliasSpec], default: object) -> str:
    if not models:
        raise ConfigurationError(f"catalogue {path} has no [models.NAME] entry")
    if default is None and len(models) == 1:
        return next(iter(models))
    names = (*models, *aliases)
    if not isinstance(default, str) or default not in names:
        raise ConfigurationError(f"catalogue {path}: `default` must name one of {', '.join(names)}")
    return default


def _withdrawn(path: Path, models: Mapping[str, ModelSpec], names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"catalogue {path}: `withdrawn` must be a list of names")
    listed = next((name for name in names if name in models), None)
    if listed is not None:
        raise ConfigurationError(f"catalogue {path}: {listed} is withdrawn, so it must not have an entry any more")
    return tuple(names)


def _require_variants(path: Path, catalogue: Catalogue) -> None:
    """Every model that an alias means is there, and no model bears an alias's name."""
    for alias in catalogue.aliases.values():
        where = f"catalogue {path}: aliases.{alias.name}"
        if alias.name in catalogue.models:
            raise ConfigurationError(f"{where}: a model has this name already")
        missing = next((model for model in alias.models if model not in catalogue.models), None)
        if missing is not None:
            raise ConfigurationError(f"{where}: {missing} is no model of this catalogue")


def _require_models(path: Path, catalogue: Catalogue) -> None:
    """Every model that another entry names is there, and fits."""
    entries: tuple[tuple[str, Mapping[str, AdapterSpec | EmbeddingSpec]], ...] = (
        ("adapters", catalogue.adapters),
        ("embeddings", catalogue.embeddings),
    )
    for table, specs in entries:
        for spec in specs.values():
            if spec.model not in catalogue.models:
                raise ConfigurationError(f"catalogue {path}: {table}.{spec.name} names no model of this catalogue")
    for model in catalogue.models.values():
        if model.refiner is not None and not _refines(model, catalogue.models.get(model.refiner)):
            raise ConfigurationError(f"catalogue {path}: models.{model.name}: refiner must name another sdxl model")
    _require_own_tokens(path, catalogue)


def _refines(model: ModelSpec, refiner: ModelSpec | None) -> bool:
    return refiner is not None and refiner.name != model.name and model.family == refiner.family == "sdxl"


def _require_own_tokens(path: Path, catalogue: Catalogue) -> None:
    taken: set[tuple[str, str]] = set()
    for spec in catalogue.embeddings.values():
        word = (spec.model, spec.token.lower())
        if word in taken:
            raise ConfigurationError(f"catalogue {path}: embeddings.{spec.name}: its token is another embedding's too")
        taken.add(word)


def _entries(kind: type[_E], raw: Mapping[str, Any], path: Path) -> dict[str, _E]:
    table = next(name for name, listed in _TABLES.items() if listed is kind)
    return {name: _entry(kind, path, table, name, body) for name, body in _table(raw, table, path)}


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
    fault = _fault_on_disk(entry)
    if fault is not None:
        raise ConfigurationError(f"{where}: {fault}")
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


def _fault_on_disk(entry: BaseModel) -> str | None:
    """What is wrong with the files that an entry names."""
    if isinstance(entry, AdapterSpec | EmbeddingSpec):
        return _file_fault(entry.file, entry.sha256)
    return _model_fault(entry) if isinstance(entry, ModelSpec) else None


def _file_fault(path: Path, sha256: str) -> str | None:
    if path.suffix != ".safetensors":
        return "file must be a .safetensors file"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{path} does not exist"
    except OSError as error:
        return f"{path} can't be read: {error.strerror}"
    return None if found == sha256 else f"{path} is not the file that sha256 names: its digest is {found}"


def _model_fault(model: ModelSpec) -> str | None:
    source = model.source
    if source.folder is not None and not (source.folder / "model_index.json").is_file():
        return f"{source.folder / 'model_index.json'} does not exist"
    missing = next((path for path in (source.file, source.config) if path is not None and not path.exists()), None)
    if missing is not None:
        return f"{missing} does not exist"
    channels = _unet_channels(source.folder or source.config)
    if channels is not None and (channels == INPAINT_CHANNELS) != (model.inpaint == "native"):
        right = "native" if channels == INPAINT_CHANNELS else "blend or none"
        return f"inpaint must be {right}: its UNet takes {channels} channels"
    return None


def _unet_channels(folder: Path | None) -> int | None:
    """What the UNet takes in, where its config is at hand."""
    path = folder / "unet" / "config.json" if folder else None
    if path is None or not path.is_file():
        return None
    try:
        channels = json.loads(path.read_text(encoding="utf-8"))["in_channels"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the loader will say what is wrong with it
    return channels if isinstance(channels, int) else None


_TABLES: Mapping[str, type[BaseModel]] = {
    "models": ModelSpec,
    "adapters": AdapterSpec,
    "embeddings": EmbeddingSpec,
    "aliases": AliasSpec,
}
