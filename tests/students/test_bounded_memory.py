"""What is remembered between requests is bounded by its size, not by how many things it is."""

from __future__ import annotations

from ultracore.distillation.decisions import State
from ultracore.distillation.students.compact import gazetteer, sources
from ultracore.distillation.students.compact.matching import MAX_BYTES, WORD_BYTES, Matcher
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool

WORDS = 20_000
TOOLS = [Tool("look_up", "Look up")]


def said(number: int) -> Transcript:
    text = " ".join(f"w{number}x{word}" for word in range(WORDS))
    return Transcript(State([{"role": "user", "content": text}], TOOLS))


def test_long_conversations_are_forgotten_before_many_of_them_fill_the_memory() -> None:
    matcher, read = Matcher({}), [said(number) for number in range(12)]
    found = [matcher.match(transcript) for transcript in read]
    assert MAX_BYTES // 2 < matcher._matches.size <= MAX_BYTES
    assert len(matcher._matches) <= MAX_BYTES // (WORD_BYTES * WORDS)
    assert matcher.match(read[-1]) is found[-1]


def test_values_as_long_as_a_file_are_not_kept_by_the_thousand() -> None:
    for keeper in (sources._forms, gazetteer._hash):
        keeper.cache_clear()
    for number in range(100):
        text = f"{number} " + "word " * 1000
        assert sources.forms_of(text) is sources.forms_of(text)
        assert gazetteer.hash_of(text) == gazetteer.hash_of(text)
    assert sources.forms_of("short") is sources.forms_of("short")
    assert (sources._forms.cache_info().currsize, gazetteer._hash.cache_info().currsize) == (1, 0)
    assert sources._forms_of_long.cache_info().currsize <= 32
