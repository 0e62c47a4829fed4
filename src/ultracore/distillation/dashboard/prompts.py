"""The page of the prompts: which version came of which, how they scored, which is in use, and their texts.

Texts hold demonstrations, which are conversations: only keys of scope admin get them. What this file does not know:
how versions come about.
"""

from __future__ import annotations

from typing import Any

from ultracore.distillation.dashboard.pages import Page, Source
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import EventStore
from ultracore.distillation.optimize.versions import PromptVersion, difference_of, find_version, prompt_versions
from ultracore.distillation.serve.keys import Key, Scope
from ultracore.distillation.serve.wire import RequestError

__all__ = ["prompts_page"]

MOST = 200
"""Versions on the page, the newest."""

LONGEST = 20_000
"""Characters of a text, and lines of a difference, that are shown."""


def prompts_page(store: EventStore) -> Page:
    """The page at `/prompts`."""

    def read(key: Key, parameters: dict[str, str]) -> dict[str, Any]:
        versions = prompt_versions(store, tenant=key.tenant)
        return {"total": len(versions), "versions": [_row(version) for version in versions[-MOST:]]}

    def read_one(key: Key, parameters: dict[str, str]) -> dict[str, Any]:
        if key.scope != Scope.ADMIN:
            return {"texts": False}
        try:
            version = find_version(store, parameters.get("id", ""), key.tenant)
            parent = version.parent_id and find_version(store, version.parent_id, key.tenant)
        except ConfigurationError as error:
            raise RequestError(404, str(error), code="not_found") from None
        changes = list(difference_of(parent, version))[2:LONGEST] if parent else []
        return {"texts": True, "text": version.text[:LONGEST], "cut": len(version.text) > LONGEST, "changes": changes}

    source, one = Source("/dashboard/prompts.json", read), Source("/dashboard/prompt.json", read_one)
    return Page("/prompts", "Prompts", source, ("prompts.js",), (one,))


def _row(version: PromptVersion) -> dict[str, Any]:
    return {
        "id": version.prompt_id,
        "parent": version.parent_id,
        "agent": version.agent_id,
        "method": version.method,
        "how": version.reason,
        "run": version.run_id,
        "time": version.timestamp,
        "selection": version.score,
        "test": version.test_score,
        "characters": len(version.text),
        "in_use": version.in_use,
    }
