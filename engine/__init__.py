"""Latent diffusion with step-level continuous batching. Knows no queue, store, HTTP or safety."""

from __future__ import annotations

from engine.engine import Engine
from engine.handle import EngineHandle, EngineStats
from engine.lora.file import AdapterFile
from engine.observer import EngineObserver
from engine.pipelines import PipelineSpec
from engine.safe_guidance import SafeGuidance
from engine.samples import AdapterUse, GeneratedImage, ImageRequest
from engine.textual_inversion import EmbeddingFile

__all__ = [
    "AdapterFile",
    "AdapterUse",
    "EmbeddingFile",
    "Engine",
    "EngineHandle",
    "EngineObserver",
    "EngineStats",
    "GeneratedImage",
    "ImageRequest",
    "PipelineSpec",
    "SafeGuidance",
]
