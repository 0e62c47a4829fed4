"""The versions of a prompt, from the log alone: which there are, what came of what, and which is in use.

What this file does not know: how versions come about.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import msgspec

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import (
    EventStore,
    PromptChosenEvent,
    PromptsOptimizedEvent,
    PromptVersionRecordedEvent,
)

__all__ = ["PromptVersion", "choose", "difference_of", "find_version", "prompt_versions", "version_in_use"]


class PromptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version.

    Attributes:
        prompt_id: Its id.
        agent_id: Whose prompt it is, "" where nobody said.
        text: The prompt; "" where its day was erased.
        method: What made it.
        parent_id: What it came from.
        score: On the examples to choose by (0..1).
        test_score: On the test part, where it came out of a run (0..1).
        reason: How it came about.
        run_id: The run.
        timestamp: When.
        in_use: Whether it is the agent's prompt now.
    """

    prompt_id: str
    agent_id: str
    text: str
    method: str
    parent_id: str | None
    score: float | None
    test_score: float | None
    reason: str
    run_id: str
    timestamp: str
    in_use: bool


def prompt_versions(store: EventStore, agent: str | None = None, tenant: str = "default") -> list[PromptVersion]:
    """All versions, oldest first; the last that was chosen for an agent is in use."""
    versions: dict[str, PromptVersionRecordedEvent] = {}
    tested: dict[str, float] = {}
    chosen: dict[str, str] = {}
    kinds = (PromptVersionRecordedEvent, PromptsOptimizedEvent, PromptChosenEvent)
    for event in store.read(types=[kind.event_type for kind in kinds], tenant=tenant):
        if isinstance(event, PromptVersionRecordedEvent):
            versions[event.prompt_id] = event
        elif isinstance(event, PromptsOptimizedEvent) and event.prompt_id:
            tested[event.prompt_id] = event.accuracy_after
        elif isinstance(event, PromptChosenEvent):
            chosen[event.agent_id] = event.prompt_id
    return [_version(event, tested, chosen) for event in versions.values() if agent is None or event.agent_id == agent]


def find_version(store: EventStore, prompt_id: str, tenant: str = "default") -> PromptVersion:
    """A version by its id or the beginning of it.

    Raises:
        ConfigurationError: There is none, or more than one.
    """
    found = [version for version in prompt_versions(store, tenant=tenant) if version.prompt_id.startswith(prompt_id)]
    if len(found) != 1 or not prompt_id:
        problem = f"{len(found)} versions begin with" if found and prompt_id else "there is no version"
        raise ConfigurationError(f"{problem} {prompt_id!r}; `distill prompts list` shows their ids")
    return found[0]


def version_in_use(store: EventStore, agent: str, tenant: str = "default") -> PromptVersion:
    """An agent's prompt now: what `distill prompts use` chose last.

    Raises:
        ConfigurationError: None was chosen.
    """
    for version in prompt_versions(store, agent, tenant):
        if version.in_use:
            return version
    whose = f" for {agent}" if agent else ""
    raise ConfigurationError(f"no version is in use{whose}; name one, or choose one with `distill prompts use`")


def choose(store: EventStore, version: PromptVersion, reason: str = "", tenant: str = "default") -> None:
    """Put a version in use for its agent, an older one as well."""
    event = PromptChosenEvent.record(
        prompt_id=version.prompt_id, agent_id=version.agent_id, reason=reason, tenant_id=tenant
    )
    store.append([event])


def difference_of(old: PromptVersion, new: PromptVersion) -> Iterator[str]:
    """A unified diff, line by line."""
    return difflib.unified_diff(
        old.text.splitlines(), new.text.splitlines(), old.prompt_id, new.prompt_id, lineterm="", n=2
    )


def _version(event: PromptVersionRecordedEvent, tested: dict[str, float], chosen: dict[str, str]) -> PromptVersion:
    return PromptVersion(
        prompt_id=event.prompt_id,
        agent_id=event.agent_id,
        text=event.text,
        method=event.method,
        parent_id=event.parent_id,
        score=event.score,
        test_score=tested.get(event.prompt_id),
        reason=event.reason,
        run_id=event.run_id,
        timestamp=event.metadata.timestamp,
        in_use=chosen.get(event.agent_id) == event.prompt_id,
    )
