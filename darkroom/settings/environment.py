"""What all settings share: read from variables that begin with `DARKROOM_`, frozen, wrong values told by name alone.

Reading happens when a class is built, never at import.
"""

from __future__ import annotations

from typing import Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from darkroom.errors import ConfigurationError

PREFIX = "DARKROOM_"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    @classmethod
    def from_env(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: naming the variable and what is wrong with it, never its value.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            name = f"{cls.prefix()}{where.upper()}: " if where else ""
            raise ConfigurationError(f"{name}{first['msg'].removeprefix('Value error, ')}") from None

    @classmethod
    def prefix(cls) -> str:
        """What every variable of this class begins with."""
        return str(cls.model_config["env_prefix"])
