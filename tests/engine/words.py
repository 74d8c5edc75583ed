"""Embeddings' files (textual inversion) with random vectors, in each format that they come in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from engine import EmbeddingFile
from tests.engine.tiny import TEXT_WIDTH


def random_vectors(count: int, *, seed: int, width: int = TEXT_WIDTH) -> torch.Tensor:
    """As large as a trained model's own."""
    return 0.02 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def save_embedding(path: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    save_file(dict(tensors), path)
    return path


def listed(path: Path, word: str) -> EmbeddingFile:
    """The file as a catalogue would list it."""
    return EmbeddingFile(word.strip("<>"), word, path, hashlib.sha256(path.read_bytes()).hexdigest())


def save_moss(folder: Path) -> Path:
    """One vector, as diffusers writes it."""
    return save_embedding(folder / "moss.safetensors", {"<moss>": random_vectors(1, seed=1)[0]})


def save_fern(folder: Path) -> Path:
    """Three vectors, as stable-diffusion-webui writes them."""
    return save_embedding(folder / "fern.safetensors", {"emb_params": random_vectors(3, seed=2)})


def save_lichen(folder: Path) -> Path:
    """Two vectors for each of two text encoders."""
    tensors = {"clip_l": random_vectors(2, seed=3), "clip_g": random_vectors(2, seed=4)}
    return save_embedding(folder / "lichen.safetensors", tensors)
