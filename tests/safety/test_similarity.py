from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from darkroom.errors import ConfigurationError
from safety.image.embedder import ImageEmbedder
from safety.image.references import Reference, References, load_references, save_references
from safety.image.similarity import SimilarityCheck
from safety.provenance.phash import distance, looks_of
from safety.subjects import ImageSubject
from safety.verdict import Category
from training.painter import painted_pair

BAR = 0.5  # of the calibrated score


@pytest.fixture(scope="module")
def embedder() -> ImageEmbedder:
    return ImageEmbedder(Path("models/darkroom-tiny-clip"))


def picture(seed: int) -> np.ndarray:
    return np.asarray(painted_pair(seed)[0])


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file).convert("RGB"))


def write(path: Path, embedder: ImageEmbedder, pictures: dict[Reference, np.ndarray]) -> Path:
    empty = References.empty(embedder.sha256, dimensions=embedder.dimensions)
    vectors = embedder(list(pictures.values())).numpy()
    looks = [looks_of(pixels) for pixels in pictures.values()]
    save_references(path, empty.with_more(list(pictures), vectors, looks))
    return path


def score(check: SimilarityCheck, pixels: np.ndarray, owner: str | None = None) -> float:
    (finding,) = check.run(ImageSubject(pixels, owner))
    assert (finding.category, finding.layer) == (Category.trademark, "image_similarity")
    return finding.score


def test_copy_of_a_reference_is_above_the_bar_and_never_certain(embedder: ImageEmbedder, tmp_path: Path) -> None:
    check = SimilarityCheck(write(tmp_path / "set.npz", embedder, {Reference("one"): picture(1)}), embedder)

    assert BAR < score(check, as_jpeg(picture(1))) < 1


def test_other_picture_is_below_the_bar(embedder: ImageEmbedder, tmp_path: Path) -> None:
    check = SimilarityCheck(write(tmp_path / "set.npz", embedder, {Reference("one"): picture(1)}), embedder)

    assert score(check, picture(2)) < BAR


def test_references_of_one_owner_count_for_nobody_else(embedder: ImageEmbedder, tmp_path: Path) -> None:
    pictures = {Reference("all"): picture(3), Reference("own", "acme"): picture(1)}
    check = SimilarityCheck(write(tmp_path / "set.npz", embedder, pictures), embedder)

    above = [score(check, picture(1), owner) > BAR for owner in ("acme", "other", None)]
    shared = [score(check, picture(3), owner) > BAR for owner in ("acme", "other", None)]

    assert (above, shared) == ([True, False, False], [True, True, True])


def test_mirrored_copy_is_above_the_bar(embedder: ImageEmbedder, tmp_path: Path) -> None:
    check = SimilarityCheck(write(tmp_path / "set.npz", embedder, {Reference("one"): picture(1)}), embedder)

    assert score(check, picture(1)[:, ::-1]) > BAR


def test_near_hash_is_enough_beside_a_vector_that_would_not_be(embedder: ImageEmbedder, tmp_path: Path) -> None:
    path = write(tmp_path / "set.npz", embedder, {Reference("one"): picture(1)})
    blurred = np.asarray(Image.fromarray(picture(1)).filter(ImageFilter.GaussianBlur(1)))

    scores = [score(SimilarityCheck(path, embedder, bar=0.999999, bits=bits), blurred) for bits in (8, 0)]

    assert scores[0] > BAR
    assert distance(looks_of(blurred) or 0, looks_of(picture(1)) or 0) > 0
    assert scores[1] < BAR


def test_vector_that_is_no_number_is_not_hidden(
    embedder: ImageEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = SimilarityCheck(write(tmp_path / "set.npz", embedder, {Reference("one"): picture(1)}), embedder)
    monkeypatch.setattr(check, "_embedder", lambda images: torch.full((len(images), embedder.dimensions), torch.nan))

    assert math.isnan(score(check, picture(1)))


def test_changed_file_counts_from_the_next_image_on(embedder: ImageEmbedder, tmp_path: Path) -> None:
    path = write(tmp_path / "set.npz", embedder, {Reference("one"): picture(1)})
    check = SimilarityCheck(path, embedder)
    before = score(check, picture(1))

    save_references(path, load_references(path).without(Reference("one")))

    assert (before > BAR, score(check, picture(1))) == (True, 0.0)


def test_file_that_goes_missing_stops_every_image(embedder: ImageEmbedder, tmp_path: Path) -> None:
    path = write(tmp_path / "set.npz", embedder, {Reference("one"): picture(1)})
    check = SimilarityCheck(path, embedder)
    path.unlink()

    with pytest.raises(ConfigurationError):
        check.run(ImageSubject(picture(2)))


def test_references_of_another_clip_stop_the_start(embedder: ImageEmbedder, tmp_path: Path) -> None:
    save_references(tmp_path / "set.npz", References.empty("0" * 64, dimensions=embedder.dimensions))

    with pytest.raises(ConfigurationError, match="another CLIP"):
        SimilarityCheck(tmp_path / "set.npz", embedder)
