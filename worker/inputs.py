"""A job's input images on their way to the engine: fetched, compared with the recipe's digests, made arrays.

The API has decoded and cleaned them before; here they are our own PNGs, and one that is not what the recipe names ends
the job.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from darkroom.errors import InputUnavailable, ObjectNotFound
from darkroom.object_store import ObjectStore
from darkroom.params import GenerationParams, StoredImage


@dataclass(frozen=True, eq=False)
class JobInputs:
    """What all images of a job start from."""

    init: np.ndarray | None = None  # (h, w, 3) uint8
    mask: np.ndarray | None = None  # (h, w) uint8, 255 is painted anew


def load_inputs(params: GenerationParams, objects: ObjectStore) -> JobInputs:
    """Fetch what the recipe names.

    Raises:
        InputUnavailable: one is missing, or not what the recipe names.
        ObjectStoreUnavailable: the object store is not answering.
    """
    return JobInputs(_load(params.init_image, "RGB", objects), _load(params.mask_image, "L", objects))


def _load(stored: StoredImage | None, mode: str, objects: ObjectStore) -> np.ndarray | None:
    if stored is None:
        return None
    try:
        data = objects.get(stored.key)
    except ObjectNotFound:
        raise InputUnavailable from None
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise InputUnavailable
    with Image.open(BytesIO(data), formats=["PNG"]) as image:
        return np.asarray(image.convert(mode))
