"""`distill keys`, `pause`, `resume` and the options of `serve`: what they write, and what they never show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ultracore.distillation.cli.home import settings_at
from ultracore.distillation.cli.serve import gateway
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.serve.keys import Scope, key_ring
from ultracore.distillation.serve.server import configure
from ultracore.distillation.settings import load_settings


def test_a_key_is_shown_once_and_works_until_it_is_revoked(distill: Any, home: Path) -> None:
    made = distill("keys", "add", "support", "--tenant", "acme", "--agent", "support", "--requests-per-minute", "60")
    secret = made.out.strip()
    assert made.code == 0
    found = key_ring(open_store(home)).find(secret, utc_now())
    assert found is not None
    assert (found.tenant, found.scope, found.agent_id, found.requests_per_minute) == (
        "acme", Scope.CLIENT, "support", 60,
    )  # fmt: skip
    listed = distill("keys", "list").out
    assert found.key_id in listed
    assert "valid" in listed
    assert secret not in listed
    assert secret not in distill("log", "tail", "--json").out
    assert distill("keys", "revoke", found.key_id, "--reason", "rotated").code == 0
    assert key_ring(open_store(home)).find(secret, utc_now()) is None
    assert "revoked" in distill("keys", "list").out


def test_a_name_is_not_markup(distill: Any, home: Path) -> None:
    assert distill("keys", "add", "[/b]").code == 0
    assert "[/b]" in distill("keys", "list").out
    assert distill("keys", "add", "x", "--days", 99_999_999).code == 2


def test_an_unknown_key_is_an_error_and_a_key_may_expire(distill: Any, home: Path) -> None:
    assert distill("keys", "list").code == 2  # nothing was ever logged
    secret = distill("keys", "add", "x", "--days", "1").out.strip()
    assert key_ring(open_store(home)).find(secret, utc_now()).expires_at > utc_now().isoformat()  # type: ignore[union-attr, operator]
    outcome = distill("keys", "revoke", "nobody")
    assert (outcome.code, "distill keys list" in outcome.err) == (2, True)


def test_a_key_lets_the_gateway_listen_wider(distill: Any, home: Path) -> None:
    settings = load_settings(upstream_url="http://127.0.0.1:9/v1", host="0.0.0.0")
    app, _ = gateway(settings)
    with pytest.raises(ConfigurationError):
        configure(app, settings, keyed=app.state.ring.required)
    distill("keys", "add", "x")
    app, _ = gateway(settings)
    assert configure(app, settings, keyed=app.state.ring.required).host == "0.0.0.0"


def test_the_gateway_says_what_is_missing_before_a_request_fails(
    distill: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = load_settings(upstream_url="http://127.0.0.1:9/v1")
    _, said = gateway(settings)
    assert "$OPENAI_API_KEY, which is NOT set" in said
    assert "Clients need a key" not in said
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    distill("keys", "add", "x")
    _, said = gateway(settings)
    assert "NOT set" not in said
    assert "sk-1" not in said
    assert "Clients need a key" in said
    file = tmp_path / "servers.toml"
    file.write_text('[[target]]\nurl = "http://127.0.0.1:9/v1"\n')
    _, said = gateway(load_settings(upstreams=str(file)))
    assert f"the servers in {file}" in said


def test_pause_and_resume_are_in_the_log(distill: Any, home: Path) -> None:
    settings = load_settings(upstream_url="http://127.0.0.1:9/v1")
    assert "distill resume" in distill("pause", "--reason", "incident 12").out
    app, said = gateway(settings)
    assert app.state.gateway.switch.paused
    assert "Paused" in said
    assert distill("resume").code == 0
    assert not gateway(settings)[0].state.gateway.switch.paused
    assert [event.event_type for event in open_store(home).read()] == ["GATEWAY_PAUSED", "GATEWAY_RESUMED"]


def test_the_configuration_file_is_below_the_options(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "distill.toml"
    file.write_text('mode = "shadow"\nport = 9000\n')
    settings = settings_at(home, file, port=9001)
    assert (settings.mode, settings.port, settings.home_path) == ("shadow", 9001, home)
