"""The text of a prompt: instructions, then notes on tools, then demonstrations; plain Markdown that a model reads too.

    You choose a tool.

    ## Notes
    - refund_order [30 %]: money back, broken; not: where is

    ## Demonstrations
    Input: where is my parcel
    Answer: track_order

Whatever does not look like a note or a demonstration is instruction. What this file does not know: who reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Demonstration", "Note", "Prompt", "parse_prompt", "render_prompt", "split_demonstrations"]

NOTES, DEMONSTRATIONS = "## Notes", "## Demonstrations"
MAX_INPUT = 600
"""Characters of a demonstration's input."""

_NOTE = re.compile(r"^- ([\w().:-]+)(?: \[(\d+) %\])?: (.*)$")
_DEMONSTRATION = re.compile(r"^Input: (.*)\nAnswer: (.*)$", re.M)


class Note(NamedTuple):
    """What is known of a tool.

    Attributes:
        words: What speaks for it: words and phrases, the strongest first.
        against: What speaks against it.
        share: How often the teacher decides for it, in per cent; `None` where nobody says.
    """

    words: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    share: int | None = None


class Demonstration(NamedTuple):
    """An input and the teacher's answer to it, each on one line."""

    input: str
    answer: str


class Prompt(NamedTuple):
    """A prompt in its parts; `parse_prompt` of `render_prompt` is the same again."""

    instructions: str
    notes: Mapping[str, Note]
    demonstrations: Sequence[Demonstration]


def split_demonstrations(text: str) -> tuple[str, str]:
    """The text before the demonstrations, and the demonstrations with their heading."""
    start = -1 if DEMONSTRATIONS not in text else text.index(DEMONSTRATIONS)
    return (text, "") if start < 0 else (text[:start], text[start:])


def parse_prompt(text: str) -> Prompt:
    r"""Read a prompt; any text is one.

    Example:
        >>> parse_prompt("Choose.\n\n## Notes\n- refund: money back; not: where").notes["refund"]
        Note(words=('money back',), against=('where',), share=None)
    """
    head, demonstrations = split_demonstrations(text)
    instructions, _, listed = head.partition(NOTES)
    notes: dict[str, Note] = {}
    rest: list[str] = []
    for line in listed.splitlines():
        found = _NOTE.match(line)
        if found:
            notes[found[1]] = _note(found[3], found[2])
        elif line.strip():
            rest.append(line)
    shown = [Demonstration(*found) for found in _DEMONSTRATION.findall(demonstrations)]
    return Prompt("\n".join([instructions.strip(), *rest]).strip(), notes, shown)


def render_prompt(prompt: Prompt) -> str:
    """Write a prompt."""
    blocks = [prompt.instructions.strip()]
    if prompt.notes:
        blocks.append("\n".join([NOTES, *(_noted(name, note) for name, note in sorted(prompt.notes.items()))]))
    if prompt.demonstrations:
        blocks.append("\n".join([DEMONSTRATIONS, *map(_demonstrated, prompt.demonstrations)]))
    return "\n\n".join(filter(None, blocks))


def one_line(text: str, most: int = MAX_INPUT) -> str:
    """The text on one line, cut at so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def _note(text: str, share: str | None) -> Note:
    words, _, against = text.partition("; not: ")
    return Note(_listed(words.split(", ")), _listed(against.split(", ")), None if share is None else int(share))


def _listed(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word.strip() for word in words if word.strip())


def _noted(name: str, note: Note) -> str:
    against = f"; not: {', '.join(note.against)}" if note.against else ""
    share = "" if note.share is None else f" [{note.share} %]"
    return f"- {name}{share}: {', '.join(note.words)}{against}"


def _demonstrated(shown: Demonstration) -> str:
    return f"Input: {one_line(shown.input)}\nAnswer: {one_line(shown.answer)}"
