"""Where things are kept: Redis, the object store, and the keys that seal what lies in both.

Files of passwords and keys are read when they are needed, never when a class is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import Field, SecretStr, model_validator

from darkroom.errors import ConfigurationError
from darkroom.settings.environment import Settings


class RedisSettings(Settings):
    """Where job records, queues, tickets and keys live."""

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Redis or Valkey; `rediss://` for TLS, `unix://` for a socket."
    )
    redis_username: str | None = Field(None, description="User of the server's access list, where the URL names none.")
    redis_password_file: Path | None = Field(None, description="File of the password, where the URL holds none.")
    redis_ca_file: Path | None = Field(
        None, description="Certificates (PEM) that sign the server's, for `rediss://`; unset means the system's own."
    )
    redis_timeout_seconds: float = Field(5.0, gt=0, description="Longest wait for a connection or a reply.")
    redis_max_connections: int = Field(64, ge=1, description="Connections that one process may open.")

    def connection_url(self) -> str:
        """The URL with user, password and certificates, as every client takes it. Never to be shown.

        Raises:
            ConfigurationError: the file of the password can't be read.
        """
        given = parts = urlsplit(self.redis_url)
        if (self.redis_username or self.redis_password_file) and "@" not in parts.netloc:
            user, password = quote(self.redis_username or "", safe=""), quote(self._password(), safe="")
            parts = parts._replace(netloc=f"{user}:{password}@{parts.netloc}")
        if parts.scheme == "rediss":
            query = parse_qsl(parts.query)
            if self.redis_ca_file:
                query.append(("ssl_ca_certs", str(self.redis_ca_file)))
            if "ssl_cert_reqs" not in dict(query):
                query.append(("ssl_cert_reqs", "required"))  # the broker's client would not check otherwise
            if "ssl_check_hostname" not in dict(query):
                query.append(("ssl_check_hostname", "true"))
            parts = parts._replace(query=urlencode(query))
        return self.redis_url if parts == given else urlunsplit(parts)

    def _password(self) -> str:
        if self.redis_password_file is None:
            return ""
        try:
            return self.redis_password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError("DARKROOM_REDIS_PASSWORD_FILE: the file can't be read") from None


class SecretSettings(Settings):
    """What seals prompts and secrets at rest."""

    secret_file: Path | None = Field(
        None, description="Keys that seal prompts and secrets, one a line, 32 bytes in base64; needed by every process."
    )


class ObjectStoreSettings(Settings):
    """Where finished images lie and how callers fetch them."""

    object_store: Literal["local", "s3"] = Field("local", description="A folder of this machine, or an S3 service.")
    object_store_folder: Path = Field(Path("data/objects"), description="Folder of the local store; made if missing.")
    s3_bucket: str = Field("darkroom", min_length=3, description="Bucket; created if missing.")
    s3_endpoint_url: str | None = Field(None, description="Endpoint of the S3 service; unset means AWS.")
    s3_link_endpoint_url: str | None = Field(
        None, description="Endpoint of that service in the links given to callers; unset means the same."
    )
    s3_region: str = Field("us-east-1", description="Region of the bucket.")
    s3_access_key_id: str | None = Field(None, description="Access key; unset means boto3's own search order.")
    s3_secret_access_key: SecretStr | None = Field(None, description="Secret of the access key.")
    url_ttl_seconds: int = Field(900, ge=10, le=604_800, description="How long an image's link works.")
    public_url: str = Field(
        "http://127.0.0.1:8000", description="Where callers reach the API; the base of the local store's links."
    )
    link_secret: SecretStr | None = Field(
        None, description="Signs the local store's links (16 characters or more); the same for every API process."
    )
    cdn_url: str | None = Field(
        None,
        pattern=r"^https?://[^?#]+$",
        description="Base of a content delivery network that links to released images lead to. Unset: to the store.",
    )
    cdn_secret_file: Path | None = Field(
        None, description="File whose first word signs those links (32 characters or more); the edge has it too."
    )

    @model_validator(mode="after")
    def _secrets_fit(self) -> Self:
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError("DARKROOM_S3_ACCESS_KEY_ID and DARKROOM_S3_SECRET_ACCESS_KEY belong together")
        if self.link_secret is not None and len(self.link_secret.get_secret_value()) < 16:
            raise ValueError("DARKROOM_LINK_SECRET must have 16 characters or more")
        if (self.cdn_url is None) != (self.cdn_secret_file is None):
            raise ValueError("DARKROOM_CDN_URL and DARKROOM_CDN_SECRET_FILE belong together")
        return self
