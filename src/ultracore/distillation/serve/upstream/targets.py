"""Which servers the teacher's models run on, how long to wait for them, and what they cost: one TOML file.

```toml
[[target]]
url = "https://api.openai.com/v1"
key_env = "OPENAI_API_KEY"        # or: pass_authorization = true

[[target]]                         # asked where the first one fails
url = "http://vllm:8000/v1"
private = true                     # its name may lead into a private network
models = ["qwen3-*"]

[deadlines]                        # seconds
connect = 5
first_byte = 120

[price."gpt-4.1"]                  # US dollars for a million tokens
input = 2.0
cached_input = 0.5
output = 8.0
```

Servers that take the same model are asked in the order of the file. What this file does not know:
requests.
"""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.serve.upstream.prices import Price

__all__ = ["Deadlines", "Target", "Targets", "read_targets"]


class Deadlines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Longest waits, in seconds.

    Attributes:
        connect: For a new connection, name and TLS included.
        slot: For a free connection of the pool.
        first_byte: For the first bytes of the reply's body. A model that reasons before it answers one
            JSON object is silent all the while.
        idle: Between two pieces of a reply.
        total: For a whole answer, all attempts and the waits between them; the OpenAI client's own default.
    """

    connect: float = 5.0
    slot: float = 5.0
    first_byte: float = 120.0
    idle: float = 60.0
    total: float = 600.0

    def __post_init__(self) -> None:
        if not all(value > 0 for value in msgspec.structs.astuple(self)):
            raise ValueError("every deadline must be more than 0 seconds")


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that speaks OpenAI's API.

    Attributes:
        url: Base URL, ending in `/v1`.
        name: For the log; the host of the URL by default.
        models: Names of the models that it serves, `*` allowed; none means all.
        key_env: Environment variable that holds its key.
        pass_authorization: Send the client's own `Authorization` or `x-api-key` instead of a key.
        private: Whether its name may lead into a private network.
        connections: At a time; where more requests wait for one, tenants are served by turns.
    """

    url: str
    name: str = ""
    models: tuple[str, ...] = ()
    key_env: str | None = None
    pass_authorization: bool = False
    private: bool = False
    connections: int = 256

    def __post_init__(self) -> None:
        if self.key_env and self.pass_authorization:
            raise ValueError("a target has a key of its own or passes the client's, not both")

    def serves(self, model: str) -> bool:
        """Whether it takes requests for a model; "" stands for any.

        Example:
            >>> Target(url="http://localhost/v1", models=("qwen3-*",)).serves("gpt-4.1")
            False
        """
        return not self.models or not model or any(fnmatchcase(model, pattern) for pattern in self.models)


class Targets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file.

    Attributes:
        target: The servers, in the order in which they are asked.
        deadlines: How long to wait.
        price: Price by model name, `*` allowed.
    """

    target: tuple[Target, ...] = ()
    deadlines: Deadlines = Deadlines()
    price: dict[str, Price] = {}


def read_targets(file: Path) -> Targets:
    """Read the file.

    Raises:
        ConfigurationError: It cannot be read, or a field is unknown or wrong.
    """
    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Targets)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{file}: {error}") from None
