"""How large an input image may be, for those who say it without loading Pillow."""

from __future__ import annotations

MAX_SIDE = 4_096  # pixels
MAX_PIXELS = 16_777_216
FORMATS = ("PNG", "JPEG", "WebP")
WHOLE_FILE = "a whole PNG, JPEG or WebP file"
