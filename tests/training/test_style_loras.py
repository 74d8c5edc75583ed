"""Listing trained styles: a new one gets an entry in the catalogue, a known one its new digest, the rest stays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from darkroom.catalogue import load_catalogue
from training.style_loras import list_adapter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    file = tmp_path / "catalogue.toml"
    file.write_text(
        '[models.darkroom-tiny]\nlicence = "MIT"\nnative_sizes = [[128, 128]]\n'
        f'source = {{ folder = "{ROOT / "models" / "darkroom-tiny"}" }}\n'
    )
    return file


def _listed(catalogue: Path, name: str, content: bytes) -> str:
    file = catalogue.parent / f"{name}.safetensors"
    file.write_bytes(content)
    list_adapter(catalogue, name, file)
    return hashlib.sha256(content).hexdigest()


def test_a_new_style_gets_an_entry(catalogue: Path) -> None:
    digest = _listed(catalogue, "neon", b"first")

    spec = load_catalogue(catalogue).adapters["neon"]
    assert (spec.sha256, spec.model, spec.licence) == (digest, "darkroom-tiny", "Apache-2.0")


def test_a_style_trained_again_changes_its_own_digest_alone(catalogue: Path) -> None:
    kept = _listed(catalogue, "outline", b"outline")
    _listed(catalogue, "neon", b"first")
    catalogue.write_text(catalogue.read_text() + "# the end\n")

    digest = _listed(catalogue, "neon", b"second")

    adapters = load_catalogue(catalogue).adapters
    assert (adapters["neon"].sha256, adapters["outline"].sha256) == (digest, kept)
    assert catalogue.read_text().endswith("# the end\n")
