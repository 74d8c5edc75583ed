"""Turns texts into unit vectors with a sentence-embedding model, or with the text side of a CLIP pair.

The layouts are those that such folders have: transformers' own files, and beside them what sentence-transformers writes
about pooling. A folder that asks for more than mean or first-token pooling is refused rather than read wrongly. Needs
torch; knows no category.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPModel, CLIPTextModelWithProjection

from darkroom.errors import ConfigurationError
from safety.prompt.windows import BATCH, Windows

_CLIP_KINDS = {"clip": CLIPModel, "clip_text_model": CLIPTextModelWithProjection}
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
_Vectors = Callable[[dict[str, Any]], torch.Tensor]


class TextEmbedder:
    """One embedding model in a local folder."""

    def __init__(self, folder: Path) -> None:
        """Load it.

        Raises:
            ConfigurationError: the folder holds no model that can be read here.
        """
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            config = AutoConfig.from_pretrained(folder, **options)
            kind = _CLIP_KINDS.get(config.model_type, AutoModel)
            model = kind.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **options)
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(f"the embedding model can't be loaded: {type(error).__name__}") from error
        model.eval().requires_grad_(requires_grad=False)
        self._vectors: _Vectors = _ClipText(model) if config.model_type in _CLIP_KINDS else _Pooled(model, folder)
        self._windows = Windows(self._tokenizer, getattr(config, "text_config", config))
        self.sha256 = _weights_sha256(folder)

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """The vectors of short texts, (n, dimensions); a text longer than one window is read in part."""
        vectors = []
        for start in range(0, len(texts), BATCH):
            words = self._tokenizer(
                list(texts[start : start + BATCH]),
                truncation=True,
                max_length=self._windows.length,
                padding=True,
                return_tensors="pt",
            )
            vectors.append(self._unit_vectors(dict(words)))
        return torch.cat(vectors)

    def embed_windows(self, text: str) -> torch.Tensor:
        """The vectors of all windows of one text, (windows, dimensions)."""
        return torch.cat([self._unit_vectors(batch) for batch in self._windows.batches(text)])

    def _unit_vectors(self, words: dict[str, Any]) -> torch.Tensor:
        with torch.inference_mode():
            return functional.normalize(self._vectors(words), dim=1)


class _ClipText:
    """The text side of a CLIP pair: its projection of the end token."""

    def __init__(self, model: Any) -> None:
        self._text_model, self._projection = model.text_model, model.text_projection  # a vision side is let go

    def __call__(self, words: dict[str, Any]) -> torch.Tensor:
        vectors: torch.Tensor = self._projection(self._text_model(**words).pooler_output)
        return vectors


class _Pooled:
    """Any other encoder: the mean of its tokens, or the first one."""

    def __init__(self, model: Any, folder: Path) -> None:
        self._model = model
        self._first_token = _pools_first_token(folder)

    def __call__(self, words: dict[str, Any]) -> torch.Tensor:
        hidden: torch.Tensor = self._model(**words).last_hidden_state  # (n, tokens, dimensions)
        if self._first_token:
            return hidden[:, 0]
        mask: torch.Tensor = words["attention_mask"].unsqueeze(2)
        mean: torch.Tensor = (hidden * mask).sum(1) / mask.sum(1)
        return mean


def _pools_first_token(folder: Path) -> bool:
    """Whether sentence-transformers' files ask for the first token instead of the mean."""
    modules = _json(folder / "modules.json") or []
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if strange := [kind for kind in kinds if kind not in _KNOWN_MODULES]:
        raise ConfigurationError(f"the embedding model has a layer {strange[0]}, which can't be read here")
    pooling = _json(folder / "1_Pooling" / "config.json") or {}
    ways = {name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True}
    if ways - {"pooling_mode_mean_tokens", "pooling_mode_cls_token"} or len(ways) > 1:
        raise ConfigurationError("the embedding model's pooling is neither the mean nor the first token")
    return ways == {"pooling_mode_cls_token"}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _weights_sha256(folder: Path) -> str:
    """What tells this model from every other: heads fit only the one they were trained on."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
