"""The settings: constructor arguments first, then the environment, then these defaults.

One frozen struct, printed by `distill settings`; every field is documented where it stands. What
this file does not know: what the values are used for.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ultracore.distillation.errors import ConfigurationError

__all__ = ["Settings", "load_settings"]

PREFIX = "DISTILL_"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may set; each field's environment variable is `DISTILL_` + its name in capitals.

    Attributes:
        home: Folder of the decision log and of the models.
        tenant: Whose decisions these are, where no credential says it.
        agreement_floor: Share of the calls sent locally that must agree with the teacher (0..1).
        delta: Risk that a certificate is wrong (0..1): confidence is 1 - delta.
        audit_rate: Share of the calls sent locally that the teacher is asked about all the same (0..1).
        upstream_url: OpenAI-compatible base URL of the teacher, ending in `/v1`.
        upstream_private: Whether the name in `upstream_url` may lead into a private network.
        upstreams: TOML file of several servers with deadlines and prices, instead of `upstream_url`.
        upstream_key_env: Name of the environment variable that holds the teacher's key.
        host: Address the gateway listens on.
        port: Port the gateway listens on.
        workers: Processes that serve it.
        gateway_key_env: Name of the environment variable with the key that clients must present.
        seed: Seed of everything random.
    """

    home: str = ".distill"
    tenant: str = "default"
    agreement_floor: float = 0.93
    delta: float = 0.05
    audit_rate: float = 0.05
    upstream_url: str | None = None
    upstream_private: bool = False
    upstreams: str | None = None
    upstream_key_env: str = "OPENAI_API_KEY"
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    gateway_key_env: str = "DISTILL_GATEWAY_KEY"
    seed: int = 0

    @property
    def home_path(self) -> Path:
        """The home folder as an absolute path."""
        return Path(self.home).expanduser().resolve()


def load_settings(file: Path | None = None, env: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Merge defaults < TOML file < environment < keyword arguments.

    Args:
        file: A TOML file with the field names as keys; none is read by default.
        env: The environment; the process's own by default.
        **overrides: Field values; `None` means not given.

    Raises:
        ConfigurationError: A field is unknown or its value has the wrong type.

    Example:
        >>> load_settings(env={"DISTILL_PORT": "9000"}).port
        9000
    """
    values: dict[str, Any] = {}
    if file is not None:
        values |= _read_toml(file)
    environment = os.environ if env is None else env
    fields = {field.name for field in msgspec.structs.fields(Settings)}
    values |= {name: environment[PREFIX + name.upper()] for name in fields if PREFIX + name.upper() in environment}
    values |= {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings: {error}") from None
    for name in ("agreement_floor", "delta", "audit_rate"):
        if not 0.0 <= getattr(settings, name) <= 1.0:
            raise ConfigurationError(f"settings: {name} must lie between 0 and 1, not {getattr(settings, name)}")
    return settings


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"settings: cannot read {file}: {error}") from None
