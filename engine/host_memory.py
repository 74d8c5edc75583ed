"""The CPU's memory allocator, set for work that asks for the same large blocks again at every step.

By default glibc gives freed blocks of this size back to the kernel, which then clears each page anew when the next
layer asks: on two cores that was a seventh of a forward. Knows nothing of models.
"""

from __future__ import annotations

import ctypes
import sys

# mallopt's parameters, by glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 2**30  # far above what one layer asks for


def keep_freed_memory() -> bool:
    """Have this process keep what is freed for the next one who asks; whether the allocator can do that.

    It bears on the whole process and can't be undone. The process keeps the memory of its largest forward, which it
    would need again at the next one.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl, for instance, has none
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
