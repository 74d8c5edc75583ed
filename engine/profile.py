"""Measures what a forward costs over its number of rows, and so how many rows one forward should take.

The cap is the largest number of rows at which a row still costs about as little as it ever does: up to there more rows
are never slower in sum and let more samples move together; beyond it (caches overflow, memory runs short) they only
make everybody wait. A profile is one forward a call, so that samples under way wait for one forward at a time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch

from darkroom.catalogue import INPAINT_CHANNELS
from darkroom.logs import get_logger
from engine.batch import Rows
from engine.device import free_memory, synchronize
from engine.failures import frames, is_out_of_memory, raise_if_fatal
from engine.families.family import Family
from engine.row_caps import SMALLEST_CAP, RowCaps
from engine.samples import GroupKey, ImageRequest

log = get_logger(__name__)

TOLERANCE = 0.10  # above the cheapest row; a busy machine's timings differ by as much
REPEATS = 5  # after a first round that warms up
ROW_COUNTS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class Profile:
    """The measurement of one model at one size."""

    def __init__(
        self, family: Family, request: ImageRequest, *, max_rows: int, seconds: float, device: torch.device
    ) -> None:
        """`seconds` bounds the whole of it; the forward under way is not broken off."""
        self.times: dict[int, float] = {}  # rows -> seconds of the quickest forward
        self._family = family
        self._request = request
        self._device = device
        self._seconds = seconds
        self._spent = 0.0
        self._bound = max_rows
        self._counts = sorted({*(count for count in ROW_COUNTS if count < max_rows), max_rows})
        self._order = self._forwards()
        self._row: Rows | None = None

    def measure(self) -> bool:
        """Run one forward; False when there was nothing left to measure."""
        rows = next(self._order, None)
        if rows is None or (self._spent > self._seconds and SMALLEST_CAP in self.times):
            return False
        started = time.monotonic()
        try:
            self._time(rows)
        except Exception as error:
            raise_if_fatal(error)
            if not is_out_of_memory(error) or rows <= SMALLEST_CAP:
                raise
            self._bound = max((count for count in self._counts if count < rows), default=SMALLEST_CAP)
            self._counts = [count for count in self._counts if count <= self._bound]
            free_memory()
        self._spent += time.monotonic() - started
        return True

    @property
    def cap(self) -> int:
        return choose_cap(self.times, bound=self._bound)

    def _forwards(self) -> Iterator[int]:
        """All counts in turn, again and again: what slows the machine down for a while slows each of them."""
        for _ in range(1 + REPEATS):
            yield from (count for count in tuple(self._counts) if count <= self._bound)

    def _time(self, count: int) -> None:
        rows = self._rows(count)
        synchronize(self._device)
        started = time.perf_counter()
        self._family.denoise(rows)
        synchronize(self._device)
        seconds = time.perf_counter() - started
        self.times[count] = min(seconds, self.times.get(count, seconds))

    def _rows(self, count: int) -> Rows:
        """So many copies of one unguided row."""
        if self._row is None:
            denoising = self._family.prepare(self._request, self._family.encode)
            latents = denoising.model_input()[:1]
            timestep = denoising.timestep.float().reshape(1).to(latents.device)
            conditioning = {name: tensor[:1] for name, tensor in denoising.conditioning.items()}
            self._row = Rows(latents, timestep, conditioning, ((),))
        row = self._row
        return Rows(
            latents=row.latents.expand(count, -1, -1, -1).contiguous(),
            timesteps=row.timesteps.expand(count).contiguous(),
            conditioning={
                name: tensor.expand(count, *tensor.shape[1:]).contiguous() for name, tensor in row.conditioning.items()
            },
            adapters=((),) * count,
        )


def choose_cap(times: Mapping[int, float], *, bound: int) -> int:
    """The most rows at which a row costs at most TOLERANCE more than it does at best.

    Counts above the largest that was measured had no time to be: where the largest is among the good ones, nothing
    speaks against `bound`.
    """
    if not times:
        return bound
    best = min(seconds / rows for rows, seconds in times.items())
    good = [rows for rows, seconds in times.items() if seconds / rows <= best * (1 + TOLERANCE)]
    return bound if max(good) == max(times) else max(good)


class Profiles:
    """The profiles that an engine still has to make, one after the other. Used by the device thread alone."""

    def __init__(self, caps: RowCaps, *, seconds: float, device: torch.device) -> None:
        """`seconds` is for each size; 0 measures nothing."""
        self._caps = caps
        self._seconds = seconds
        self._device = device
        self._due: deque[tuple[str, str, GroupKey, Profile]] = deque()  # model, size, group, profile

    def __len__(self) -> int:
        return len(self._due)

    def add(self, model: str, family: Family, sizes: Iterable[tuple[int, int]]) -> None:
        """Measure a model that was loaded, at each (width, height) that is not known yet."""
        if not self._seconds:
            return
        for width, height in sizes:
            request = blank_request(family, width=width, height=height)
            key = (model, family.key(request))
            self._caps.size(key, f"{width}x{height}")
            if key not in self._caps.known():
                profile = Profile(
                    family, request, max_rows=self._caps.max_rows, seconds=self._seconds, device=self._device
                )
                self._due.append((model, f"{width}x{height}", key, profile))

    def drop(self, model: str) -> None:
        """The model left the memory."""
        self._due = deque(due for due in self._due if due[0] != model)

    def measure(self) -> None:
        """Run one forward of the profile whose turn it is; where it was the last one, the cap is known."""
        if not self._due:
            return
        model, size, key, profile = self._due[0]
        try:
            if profile.measure():
                return
        except Exception as error:  # noqa: BLE001 - a model that can't be measured may still paint
            raise_if_fatal(error)
            log.warning("profile_failed", model=model, size=size, error=type(error).__name__, frames=frames(error))
        else:
            self._caps.limit(key, profile.cap)
            milliseconds = {str(rows): round(1000 * seconds, 2) for rows, seconds in sorted(profile.times.items())}
            log.info("row_cap_measured", model=model, size=size, rows=self._caps.of(key), milliseconds=milliseconds)
        self._due.popleft()


def blank_request(family: Family, *, width: int, height: int) -> ImageRequest:
    """A request for one row of this size; a network that only paints into images gets one to paint into."""
    inpaints = family.pipeline.unet.config.in_channels == INPAINT_CHANNELS
    return ImageRequest(
        prompt="",
        negative_prompt="",
        width=width,
        height=height,
        num_inference_steps=2,
        guidance_scale=1.0,
        scheduler="euler",
        seed=0,
        init_image=np.zeros((height, width, 3), np.uint8) if inpaints else None,
        mask_image=np.full((height, width), 255, np.uint8) if inpaints else None,
        strength=1.0,
    )
