"""Darkroom's shared contracts: what the API and the workers both speak. No torch, no web framework."""

from __future__ import annotations

__version__ = "0.1.0"
