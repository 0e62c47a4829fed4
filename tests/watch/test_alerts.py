"""Alerts are raised at their limits, end well within them, do not flap, and are written down once."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import AlertRaisedEvent, AlertResolvedEvent, ModelTrainedEvent
from ultracore.distillation.settings import Settings
from ultracore.distillation.watch import conditions
from ultracore.distillation.watch.alerts import COOL_DOWN, Alerts
from ultracore.distillation.watch.latency import Latencies
from ultracore.distillation.watch.notify import notifiers, tell
from ultracore.distillation.watch.watcher import Watcher

SETTINGS = Settings()


def follow(world: Any, alerts: Alerts, condition: Any) -> list[str]:
    """What follows from a condition, once it is in the log."""
    found = alerts.follow([condition], "m", world.clock)
    for event in found:
        alerts.apply(event)
    return [event.event_type for event in found]


def hour(ms: float, count: int = 100, rng: np.random.Generator | None = None) -> Latencies:
    """Answers that all took as long, or, drawn, with that 95 % quantile."""
    found = Latencies()
    for _ in range(count):
        found.add(ms if rng is None else ms * float(np.exp(0.5 * (rng.normal() - 1.645))))
    return found


def test_the_limits_are_the_promised_ones() -> None:
    assert (SETTINGS.alert_agreement, SETTINGS.alert_latency_ms, SETTINGS.alert_drift) == (0.9, 200.0, 0.1)
    assert conditions.latency(SETTINGS, hour(220.0)).beyond
    assert not conditions.latency(SETTINGS, hour(199.0)).beyond
    assert not conditions.latency(SETTINGS, hour(900.0, count=3)).beyond
    assert conditions.agreement(SETTINGS, 0.9, 0.8).beyond
    assert conditions.agreement(SETTINGS, None, None).within  # no student answers
    assert conditions.agreement(SETTINGS, 1.0, None).within
    assert not conditions.agreement(SETTINGS, 0.905, 0.8).beyond


def test_between_limit_and_well_within_nothing_changes(world: Any) -> None:
    alerts = Alerts("default")
    assert follow(world, alerts, conditions.latency(SETTINGS, hour(190))) == []
    assert follow(world, alerts, conditions.latency(SETTINGS, hour(300))) == ["ALERT_RAISED"]
    world.later(days=1)
    assert follow(world, alerts, conditions.latency(SETTINGS, hour(190))) == []
    assert follow(world, alerts, conditions.latency(SETTINGS, hour(0, count=0))) == []  # no traffic says nothing
    assert follow(world, alerts, conditions.latency(SETTINGS, hour(150))) == ["ALERT_RESOLVED"]
    assert alerts.open == {}


def test_what_just_changed_stays(world: Any) -> None:
    alerts = Alerts("default")
    assert follow(world, alerts, conditions.latency(SETTINGS, hour(300))) == ["ALERT_RAISED"]
    for hours in (1, 2):
        world.later(hours=hours)
        assert follow(world, alerts, conditions.latency(SETTINGS, hour(10))) == []
    world.now -= timedelta(days=3)  # a clock that was set back does not hold an alert for three days
    assert follow(world, alerts, conditions.latency(SETTINGS, hour(10))) == ["ALERT_RESOLVED"]


@pytest.mark.parametrize(("p95", "most"), [(120.0, 0), (200.0, 2), (400.0, 1)])
def test_thirty_days_of_a_figure_at_or_around_its_limit_do_not_flap(world: Any, p95: float, most: int) -> None:
    alerts, rng, changes = Alerts("default"), np.random.default_rng(5), []
    for _ in range(30 * 24):
        world.later(hours=1)
        changes += follow(world, alerts, conditions.latency(SETTINGS, hour(p95, rng=rng)))
    assert changes.count("ALERT_RAISED") <= most
    assert (p95 != 400.0) or changes == ["ALERT_RAISED"]


def test_no_change_within_the_cool_down_whatever_the_figure(world: Any) -> None:
    alerts, rng, times = Alerts("default"), np.random.default_rng(6), []
    for _ in range(30 * 24 * 4):
        world.later(minutes=15)
        if follow(world, alerts, conditions.latency(SETTINGS, hour(float(rng.choice([10, 900]))))):
            times.append(world.now)
    assert len(times) > 50
    assert min(b - a for a, b in itertools.pairwise(times)) >= COOL_DOWN


def test_low_agreement_raises_an_alert_that_ends_with_the_model(world: Any) -> None:
    world.deploy(target=0.5)
    world.audits("++++-" * 60)
    told: list[Any] = []
    watched = Watcher(world.store, SETTINGS, clock=world.clock, notify=[told.append])
    (alert,) = watched.look().appended
    assert (alert.name, alert.severity, alert.limit, alert.model_id) == ("agreement_low", "critical", 0.9, "m")
    assert told == [alert.at(None)] or told[0].alert_id == alert.alert_id
    assert watched.look().alerts == Watcher(world.store, SETTINGS, clock=world.clock).look().alerts == [alert]
    world.later(days=1)
    world.deploy("better")
    (over,) = watched.look().appended
    assert isinstance(over, AlertResolvedEvent)
    assert over.alert_id == alert.alert_id
    assert len(world.of(AlertRaisedEvent)) == 1


def test_a_model_that_learned_long_ago_is_stale_until_another_answers(world: Any) -> None:
    figures = {"model_name": "m", "dataset_id": "d", "decisions": 1, "episodes": 1, "training_seconds": 1.0, "seed": 0}

    def train(model_id: str) -> None:
        world.store.append([ModelTrainedEvent.record(model_id=model_id, clock=world.clock, **figures)])
        world.deploy(model_id)

    train("m")
    watched = Watcher(world.store, SETTINGS, clock=world.clock)
    assert watched.look().appended == []
    world.later(days=31)
    (alert,) = watched.look().appended
    assert isinstance(alert, AlertRaisedEvent)
    assert (alert.name, alert.value) == ("training_data_stale", 31.0)
    world.later(days=1)
    train("next")
    (over,) = watched.look().appended
    assert over.event_type == "ALERT_RESOLVED"


def test_alerts_of_others_are_left_alone(world: Any) -> None:
    foreign = AlertRaisedEvent.record(alert_id="x", name="student_disabled", severity="critical", message="m")
    world.store.append([foreign])
    assert Watcher(world.store, SETTINGS, clock=world.clock).look().alerts == []


class Hook:
    """A server that keeps what was posted to it."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(302 if self.path == "/away" else 200)
                self.send_header("location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


ALERT = AlertRaisedEvent.record(alert_id="a", name="drift_high", severity="warning", message="drift")


def test_a_webhook_gets_the_event(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    tell(ALERT, notifiers(SETTINGS, {"DISTILL_ALERT_WEBHOOK": hook.url}))
    assert hook.got == [ALERT.to_dict()]
    assert "alert drift_high: drift" in caplog.text


def test_a_notifier_that_fails_keeps_nobody_from_being_told_and_says_no_address(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    broken = notifiers(SETTINGS, {"DISTILL_ALERT_WEBHOOK": "http://127.0.0.1:9/secret"})
    away = notifiers(SETTINGS, {"DISTILL_ALERT_WEBHOOK": f"{hook.url}/away"})
    told: list[Any] = []
    tell(ALERT, [*broken, *away, told.append])
    assert told == [ALERT]
    assert caplog.text.count("could not be sent") == 2
    assert "secret" not in caplog.text


APPRISE = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own, at import


@APPRISE
def test_apprise_is_told_too(hook: Hook) -> None:
    pytest.importorskip("apprise")
    url = hook.url.replace("http://", "json://")
    tell(ALERT, notifiers(SETTINGS, {"DISTILL_ALERT_NOTIFY": url}))
    assert [got["message"] for got in hook.got] == ["drift"]


@APPRISE
@pytest.mark.parametrize(
    "env", [{"DISTILL_ALERT_WEBHOOK": "file:///etc/passwd"}, {"DISTILL_ALERT_NOTIFY": "nothing-known://x"}]
)
def test_an_address_that_cannot_be_used_is_refused_at_the_start(env: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(env))):
        notifiers(SETTINGS, env)
