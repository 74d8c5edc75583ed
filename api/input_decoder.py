"""Has image files decoded in processes of their own, which a hostile file may kill but not use.

Pillow is never loaded here: each file goes to a fresh interpreter with limits on memory, time and files
(`darkroom/input_images.py`), a few at once. A decoder that dies has met a file that we refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import anyio.to_thread

from api.child_program import ProgramFailed, run_program
from darkroom.errors import FieldProblem, InvalidParams
from darkroom.input_limits import WHOLE_FILE

AT_ONCE = 4  # decoders of one API process: memory and processor time are bounded by it


@dataclass(frozen=True)
class DecodedImage:
    """A picture as a PNG of our own making."""

    png: bytes
    width: int
    height: int
    blank: bool  # a mask that is black everywhere


class InputDecoder:
    """The decoders of one API process."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(AT_ONCE)

    async def decode(self, field: str, kind: str, data: bytes) -> DecodedImage:
        """The file as a clean `picture` or `mask`.

        Raises:
            InvalidParams: the file can't be used; `field` is named.
        """
        return await anyio.to_thread.run_sync(self._decode, field, kind, data, limiter=self._limiter)

    def _decode(self, field: str, kind: str, data: bytes) -> DecodedImage:
        try:
            facts, png = run_program("darkroom.input_images", kind, data=data)
        except ProgramFailed:
            message = "can't be decoded within the memory and the time that one file may take"
            raise InvalidParams([FieldProblem(field, message, WHOLE_FILE)]) from None
        if "message" in facts:
            raise InvalidParams([FieldProblem(field, facts["message"], facts["limit"])])
        return DecodedImage(png=png, **facts)
