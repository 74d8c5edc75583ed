from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from darkroom.errors import ConfigurationError
from safety.provenance.phash import distance, looks_of
from safety.provenance.watermark import METHODS, payload_of
from tests.safety.test_dct_mark import painted

MISSING = importlib.util.find_spec("imwatermark") is None


def test_default_method_reads_what_it_wrote() -> None:
    mark = METHODS["dct"](b"k" * 32)

    reading = mark.read(mark.embed(painted(1), payload_of("job", 0)))

    assert reading is not None
    assert reading.payload == payload_of("job", 0)


@pytest.mark.skipif(not MISSING, reason="the package is installed")
@pytest.mark.parametrize("method", ["dwtDctSvd", "rivaGan"])
def test_method_without_its_package_is_refused(method: str) -> None:
    with pytest.raises(ConfigurationError, match="invisible-watermark"):
        METHODS[method](b"k" * 32)


def test_payload_is_the_same_in_every_attempt_and_another_for_every_image() -> None:
    payloads = [payload_of(job, index) for job in ("job_a", "job_b") for index in range(50)]

    assert payload_of("job_a", 0) == payloads[0]
    assert len(set(payloads)) == len(payloads)
    assert all(0 <= payload < 1 << 24 for payload in payloads)


def test_looks_live_through_encoding_resizing_and_blur() -> None:
    for seed in range(6):
        image = Image.fromarray(painted(seed))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=75)
        copies = [Image.open(buffer), image.resize((96, 96)), image.filter(ImageFilter.GaussianBlur(1))]
        own = looks_of(np.asarray(image))
        assert own is not None

        others = [looks_of(np.asarray(copy.convert("RGB"))) for copy in copies]

        assert all(other is not None and distance(own, other) <= 6 for other in others)


def test_different_pictures_look_different() -> None:
    looks = [looks_of(painted(seed)) for seed in range(10)]

    assert all(
        one is not None and other is not None and distance(one, other) > 6
        for index, one in enumerate(looks)
        for other in looks[:index]
    )


def test_flat_picture_has_no_looks() -> None:
    assert looks_of(np.full((64, 64, 3), 7, np.uint8)) is None
