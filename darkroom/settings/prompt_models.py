"""Models that look at prompts or rewrite them: behind a URL, or run by the worker itself.

All of them are off until a setting names one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from darkroom.settings.environment import PREFIX, Settings


class ChatSettings(Settings):
    """A language model behind an OpenAI-compatible URL."""

    url: str | None = Field(
        None,
        description="Base of the API, like `https://host/v1`; prompts are sent there and nowhere else. Unset: off.",
    )
    model: str = Field("", description="Name of the model as the server knows it.")
    key: SecretStr | None = Field(None, description="Key that is sent as `Authorization: Bearer`.")
    key_file: Path | None = Field(None, description="File of the key; used instead of the key above.")
    ca_file: Path | None = Field(
        None, description="Certificates (PEM) that sign the server's; unset means the system's own."
    )
    http: bool = Field(
        default=False, description="Allow `http://` to another machine: prompts then travel in the clear."
    )
    timeout_seconds: float = Field(
        4.0, gt=0, le=60, description="Longest wait for one whole answer; prompt and negative prompt are asked apart."
    )

    @model_validator(mode="after")
    def _model_is_named(self) -> Self:
        if self.url is not None and not self.model:
            raise ValueError(f"{self.prefix()}URL needs {self.prefix()}MODEL beside it")
        return self


class GuardSettings(ChatSettings):
    """A guard model that judges prompts, in the worker, before anything is generated."""

    model_config = SettingsConfigDict(env_prefix=f"{PREFIX}GUARD_")

    format: Literal["qwen3guard", "llama-guard"] = Field(
        "qwen3guard", description="Family of the model: Qwen3Guard-Gen, or Llama Guard 3 and 4."
    )


class RewriterSettings(ChatSettings):
    """A language model that rewrites prompts where the policy says `rewrite`."""

    model_config = SettingsConfigDict(env_prefix=f"{PREFIX}REWRITER_")


class PromptModelSettings(Settings):
    """Models that a worker itself runs on prompts."""

    prompt_classifier: str | None = Field(
        None,
        description="Text classifier (transformers): a folder, or `name@revision` with a full commit of the hub. "
        "Unset: off.",
    )
    prompt_labels: Path | None = Field(
        None, description="File that says which category each label of the classifier means (TOML)."
    )
    semantic_embedder: Path | None = Field(
        None, description="Folder of a sentence-embedding or CLIP text model. Unset: off."
    )
    semantic_heads: Path | None = Field(None, description="Folder of the heads that were trained on that model.")

    @model_validator(mode="after")
    def _parts_are_complete(self) -> Self:
        if (self.prompt_classifier is None) != (self.prompt_labels is None):
            raise ValueError("DARKROOM_PROMPT_CLASSIFIER and DARKROOM_PROMPT_LABELS belong together")
        if (self.semantic_embedder is None) != (self.semantic_heads is None):
            raise ValueError("DARKROOM_SEMANTIC_EMBEDDER and DARKROOM_SEMANTIC_HEADS belong together")
        return self
