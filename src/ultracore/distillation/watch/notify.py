"""Who is told of an alert: the process's log, a webhook, and whatever apprise can reach.

Addresses hold secrets, so that they come from environment variables which the settings name, and no message says
them. A notification that fails is logged; the alert is in the decision log whatever happens. What this file does not
know: when there is an alert.
"""

from __future__ import annotations

import logging
import os
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.error import HTTPError

import msgspec

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import AlertRaisedEvent, AlertResolvedEvent
from ultracore.distillation.settings import Settings

__all__ = ["Alert", "Notifier", "notifiers"]

logger = logging.getLogger(__name__)

Alert = AlertRaisedEvent | AlertResolvedEvent
Notifier = Callable[[Alert], None]
"""Is told of an alert; what it raises is logged, and changes nothing."""

TIMEOUT_SECONDS = 5.0


def notifiers(settings: Settings, env: Mapping[str, str] = os.environ) -> list[Notifier]:
    """Those that are configured, the process's log first.

    Args:
        settings: `alert_webhook_env` and `alert_notify_env` name the variables.
        env: Where these are looked up.

    Raises:
        ConfigurationError: An address cannot be used, or apprise is needed and not installed.
    """
    found: list[Notifier] = [_log]
    if url := env.get(settings.alert_webhook_env):
        found.append(_Webhook(url, settings.alert_webhook_env))
    if urls := env.get(settings.alert_notify_env):
        found.append(_Apprise(urls.split(), settings.alert_notify_env))
    return found


def tell(alert: Alert, whom: list[Notifier]) -> None:
    """Tell everybody; nobody's failure keeps the next from being told."""
    for notify in whom:
        try:
            notify(alert)
        except Exception as error:  # noqa: BLE001  whatever a notifier raises, the watch goes on
            logger.error("an alert could not be sent by %s: %s", type(notify).__name__, type(error).__name__)


def _log(alert: Alert) -> None:
    if isinstance(alert, AlertRaisedEvent):
        logger.warning("alert %s: %s", alert.name, alert.message)
    else:
        logger.warning("alert %s is over: %s", alert.alert_id, alert.reason)


class _Webhook:
    """POSTs the event as JSON, once; a redirect is not followed."""

    def __init__(self, url: str, variable: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{variable} must hold an address that begins with https:// or http://")
        self._url = url
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __call__(self, alert: Alert) -> None:
        body = msgspec.json.encode(alert.to_dict())
        request = urllib.request.Request(self._url, body, {"content-type": "application/json"})  # noqa: S310 - checked above
        with self._opener.open(request, timeout=TIMEOUT_SECONDS):
            pass


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        raise HTTPError("", code, "redirects are not followed", headers, fp)


class _Apprise:
    """Mail, chat and the rest, by apprise's own addresses."""

    def __init__(self, urls: list[str], variable: str) -> None:
        try:
            import apprise
        except ImportError:
            raise ConfigurationError(
                f"{variable} is set, which needs apprise: pip install 'ultracore-distillation[notify]'"
            ) from None
        self._apprise = apprise.Apprise()
        if not all(self._apprise.add(url) for url in urls):
            raise ConfigurationError(f"{variable} holds an address that apprise does not know")

    def __call__(self, alert: Alert) -> None:
        raised = isinstance(alert, AlertRaisedEvent)
        title = f"distill: {alert.name}" if isinstance(alert, AlertRaisedEvent) else "distill: an alert is over"
        text = alert.message if isinstance(alert, AlertRaisedEvent) else alert.reason
        if not self._apprise.notify(body=text, title=title, notify_type="warning" if raised else "success"):
            raise OSError("not delivered")
