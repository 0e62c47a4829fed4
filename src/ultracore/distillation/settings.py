"""The settings: constructor arguments first, then the environment, then these defaults.

One frozen struct, printed by `distill settings`; every field is documented where it stands. What
this file does not know: what the values are used for.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import msgspec

from ultracore.distillation.errors import ConfigurationError

__all__ = ["PREFIX", "AgentPolicy", "Settings", "load_settings"]

PREFIX = "DISTILL_"
FILE_VARIABLE = "DISTILL_CONFIG"
HOSTS = re.compile(r"(?:(?:\[[^]]*\]|[^:,]*)(?::\d*)?(?:,|$))*")
"""What may stand between `postgresql://user@` and `/`; `user:pass/word@host` would make `pass` a port."""

Mode = Literal["observe", "shadow", "canary", "active"]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Amount: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Places: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Processes: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=256)]


class AgentPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for one agent; a table `[agents.NAME]` of the configuration file.

    Attributes:
        mode: `observe` relays and logs; `shadow` also asks the student, unseen; `canary` lets it answer a share
            of the conversations; `active` lets it answer all that it may.
        canary_share: Share of the conversations that the student may answer in mode `canary` (0..1).
        teacher_requests_per_day: Requests that may go to the teacher on one day (UTC).
        teacher_dollars_per_day: Dollars that the teacher may cost on one day (UTC); needs prices.
    """

    mode: Mode = "active"
    canary_share: Share = 0.1
    teacher_requests_per_day: Count | None = None
    teacher_dollars_per_day: Amount | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may set; each field's environment variable is `DISTILL_` + its name in capitals.

    Attributes:
        home: Folder of the decision log and of the models.
        log_url: `postgresql://user@host/database`: the log is in that database instead of the home folder. A password
            comes from `PGPASSWORD` or `~/.pgpass`, never from here.
        tenant: Whose decisions these are, where no credential says it.
        agreement_floor: Share of the calls sent locally that must agree with the teacher (0..1).
        delta: Risk that a certificate is wrong (0..1): confidence is 1 - delta.
        audit_rate: Share of the calls sent locally that the teacher is asked about all the same (0..1).
        audit_floor: To what the share falls, for each action of an agent, as its audits grow in number (0..1).
        audit_dollars_a_day: What each process may spend on that in a day; models without a known price are then
            not audited. No limit by default.
        alert_agreement: Agreement of the calls that are sent, below which there is an alert (0..1).
        alert_latency_ms: Milliseconds within which 95 % of the student's answers of an hour must end.
        alert_drift: Drift score above which there is an alert (0..1).
        alert_stale_days: Days after which a model's training data are called stale.
        alert_webhook_env: Name of the environment variable with the address that alerts are posted to.
        alert_notify_env: Name of the environment variable with addresses for apprise, separated by spaces.
        upstream_url: OpenAI-compatible base URL of the teacher, ending in `/v1`.
        upstream_private: Whether the name in `upstream_url` may lead into a private network.
        upstreams: TOML file of several servers with deadlines and prices, instead of `upstream_url`.
        policy: TOML file of what is said about tools; see docs/policy.md.
        upstream_key_env: Name of the environment variable that holds the teacher's key.
        host: Address the gateway listens on.
        port: Port the gateway listens on.
        workers: Processes that serve it.
        gateway_key_env: Name of the environment variable with the operator's own key; it may do everything.
        mode: What the student may do: `observe`, `shadow`, `canary` or `active`; see `AgentPolicy`.
        canary_share: Share of the conversations that it may answer in mode `canary` (0..1).
        teacher_requests_per_day: Requests of all agents without a budget of their own that may go to the
            teacher on one day (UTC).
        teacher_dollars_per_day: The same in dollars; needs prices.
        agents: What holds for single agents instead, by their id; only in the configuration file.
        durability: `strict` answers nothing locally that is not in the log; `available` answers while the log
            is down, and keeps the events in a bounded file until it is back.
        student_wait_ms: How long a request may wait for the student, as far as it can be foreseen; one that would wait
            longer goes to the teacher at once (reason `overload`).
        max_requests: Requests of one tenant under way in one process; more get status 503, to be tried again a second
            later.
        idempotency_seconds: How long the answer to a request with an `Idempotency-Key` is kept for its retries.
        seed: Seed of everything random.
        redact: What is replaced before it is stored: `secrets`, `all` (personal data too, by pseudonyms) or `off`.
        redact_rules: Rules of your own, name -> regular expression; in a settings file only.
        encrypt: Whether personal fields are sealed before they are stored; without it nothing can be erased.
        keys: Folder of the keyring; `keys` in the home folder by default.
        master_key_env: Name of the environment variable with the key that the keyring is wrapped under.
        tombstones: File that remembers erasures when a backup is restored; `erased.jsonl` in the home by default.
        log_sync: `strict`: an acknowledged event survives a power loss. `relaxed`: those of the last
            `log_loss_window_seconds` may not; faster where a sync is slow.
        log_loss_window_seconds: Seconds between syncs of a relaxed log.
        checkpoints: Folder of the log's signed checkpoints; `checkpoints` in the home folder by default.
            Name one that who can write the log cannot write.
    """

    home: str = ".distill"
    log_url: str | None = None
    tenant: str = "default"
    agreement_floor: Share = 0.93
    delta: Share = 0.05
    audit_rate: Share = 0.05
    audit_floor: Share = 0.01
    audit_dollars_a_day: Amount | None = None
    alert_agreement: Share = 0.90
    alert_latency_ms: Amount = 200.0
    alert_drift: Share = 0.1
    alert_stale_days: Amount = 30.0
    alert_webhook_env: str = "DISTILL_ALERT_WEBHOOK"
    alert_notify_env: str = "DISTILL_ALERT_NOTIFY"
    upstream_url: str | None = None
    upstream_private: bool = False
    upstreams: str | None = None
    policy: str | None = None
    upstream_key_env: str = "OPENAI_API_KEY"
    host: str = "127.0.0.1"
    port: Port = 8080
    workers: Processes = 1
    gateway_key_env: str = "DISTILL_GATEWAY_KEY"
    mode: Mode = "active"
    canary_share: Share = 0.1
    teacher_requests_per_day: Count | None = None
    teacher_dollars_per_day: Amount | None = None
    agents: dict[str, AgentPolicy] = {}
    durability: Literal["strict", "available"] = "strict"
    student_wait_ms: Amount = 250.0
    max_requests: Places = 1000
    idempotency_seconds: Amount = 600.0
    seed: Count = 0
    redact: str = "secrets"
    redact_rules: dict[str, str] = {}
    encrypt: bool = True
    keys: str | None = None
    master_key_env: str = "DISTILL_MASTER_KEY"
    tombstones: str | None = None
    log_sync: Literal["strict", "relaxed"] = "strict"
    log_loss_window_seconds: Amount = 1.0
    checkpoints: str | None = None

    @property
    def home_path(self) -> Path:
        """The home folder as an absolute path."""
        return Path(self.home).expanduser().resolve()

    @property
    def keys_path(self) -> Path:
        """The folder of the keyring as an absolute path."""
        return Path(self.keys).expanduser().resolve() if self.keys else self.home_path / "keys"

    @property
    def tombstones_path(self) -> Path:
        """The file of erasures as an absolute path."""
        return Path(self.tombstones).expanduser().resolve() if self.tombstones else self.home_path / "erased.jsonl"

    @property
    def checkpoints_path(self) -> Path:
        """The folder of the checkpoints as an absolute path."""
        return Path(self.checkpoints).expanduser().resolve() if self.checkpoints else self.home_path / "checkpoints"


def load_settings(file: Path | None = None, env: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Merge defaults < TOML file < environment < keyword arguments.

    Args:
        file: A TOML file with the field names as keys; by default the one that `DISTILL_CONFIG` names, if any.
        env: The environment; the process's own by default.
        **overrides: Field values; `None` means not given.

    Raises:
        ConfigurationError: A field is unknown, or its value is of the wrong type or out of range.

    Example:
        >>> load_settings(env={"DISTILL_PORT": "9000"}).port
        9000
    """
    environment = os.environ if env is None else env
    named = environment.get(FILE_VARIABLE)
    file = Path(named).expanduser() if file is None and named else file
    values: dict[str, Any] = {} if file is None else _read_toml(file)
    fields = {field.name for field in msgspec.structs.fields(Settings)}
    values |= {name: environment[PREFIX + name.upper()] for name in fields if PREFIX + name.upper() in environment}
    values |= {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings: {error}") from None
    if settings.log_url is not None:
        _check_log_url(settings.log_url)
    return settings


def _check_log_url(url: str) -> None:
    """No message says the address: what is wrong with it may be a password in the wrong place."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise ConfigurationError("settings: log_url is no address") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError("settings: log_url must begin with postgresql://")
    if parts.password is not None or any("password" in name for name, _ in query):
        raise ConfigurationError(
            "settings: log_url must not hold a password, which would then be printed; give it in the environment "
            "variable PGPASSWORD or in ~/.pgpass"
        )
    if not HOSTS.fullmatch(parts.netloc.rpartition("@")[2]):
        raise ConfigurationError(
            "settings: log_url has a host or port that is none; write postgresql://user@host:5432/database"
        )


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"settings: cannot read {file}: {error}") from None
