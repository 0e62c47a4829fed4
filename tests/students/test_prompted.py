"""Students that read a prompt keep the protocol, go through the same certificate, and say what they took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.optimize.lm_server import Planted, serving

from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.errors import ArtefactError, ConfigurationError
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.students.prompted.chat import Chat, ChatError
from ultracore.distillation.students.prompted.prompt import Demonstration, Note, Prompt, parse_prompt, render_prompt
from ultracore.distillation.students.prompted.reader import Reader
from ultracore.distillation.students.prompted.student import PromptedStudent
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.tools import REPLY, Tool, ToolCall
from ultracore.distillation.train.certificates import certify_levels
from ultracore.distillation.train.evaluate import judge

TOOLS = [
    Tool("track_order", "Where an order is"),
    Tool("refund", "Give money back", {"required": ["id"], "properties": {"id": {}}}),
]


def said(text: str, tools: Any = TOOLS) -> State:
    return State([{"role": "system", "content": "S"}, {"role": "user", "content": text}], list(tools))


def test_descriptions_notes_and_demonstrations_count_in_the_reader() -> None:
    assert Reader("").propose(said("where is my order")).action == "track_order"
    strange = "the zebra quacks"
    for prompt in ("## Notes\n- refund: zebra", "## Demonstrations\nInput: the zebra quacks\nAnswer: refund"):
        assert Reader(prompt).propose(said(strange)).action == "refund"
    both = "## Notes\n- refund: zebra\n- track_order: quack; not: zebra"
    assert Reader(both).propose(said("zebra zebra")).action == "refund"
    assert Reader(f"## Notes\n- {REPLY}: zebra, quack").propose(said(strange)).calls == ()
    usual = "## Notes\n- track_order [2 %]: quack\n- refund [98 %]: duck"
    assert Reader(usual).propose(said(strange)).action == "refund", "how often a tool is chosen counts"


def test_long_conversations_do_not_make_notes_louder() -> None:
    """The same share of a text speaks for a tool, whatever the length: `confidence` only has to rank."""
    notes = Reader("## Notes\n- refund: zebra\n- track_order: duck")
    short, long = "zebra " + "filler word " * 2, "zebra " + " ".join(f"other{i}" for i in range(200))
    assert notes.propose(said(short)).confidence > notes.propose(said(long)).confidence


def test_the_reader_keeps_the_protocol() -> None:
    reader, states = Reader("Choose."), [said("where is my order"), said("money back"), said("hi", []), said("")]
    proposals = reader.propose_batch(states)
    assert proposals == [reader.propose(state) for state in states]
    assert all(0 <= p.confidence <= 1 for p in proposals)
    assert proposals[1].missing == ("refund.id",), "it fills no arguments, so the gate sends no such call"
    assert proposals[2].calls == ()
    assert reader.model_id == Reader("Choose.").model_id != Reader("Choose!").model_id
    assert reader.propose(said("money back", reversed(TOOLS))) == proposals[1], "the order of the tools does not matter"


words = st.text("abc de", min_size=1, max_size=8).map(str.strip).filter(bool)
notes = st.builds(
    Note,
    st.lists(words, min_size=1, max_size=3).map(tuple),
    st.lists(words, max_size=2).map(tuple),
    st.none() | st.integers(0, 100),
)
shown = st.builds(Demonstration, words.map(lambda w: " ".join(w.split())), words.map(lambda w: " ".join(w.split())))
prompts = st.builds(
    Prompt,
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])).map(str.strip).filter(lambda t: "##" not in t),
    st.dictionaries(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), notes, max_size=3),
    st.lists(shown, max_size=3),
)


@given(prompts)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_again(prompt: Prompt) -> None:
    assert parse_prompt(render_prompt(prompt)) == prompt


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_prompt(text: str) -> None:
    parse_prompt(text)
    Reader(text).propose(said("where is my order"))


def certified(student: Any, decisions: list[Decision]) -> Any:
    half = len(decisions) // 2
    judged = [
        judge(part, student.propose_batch([d.state for d in part]), Comparators())
        for part in (decisions[:half], decisions[half:])
    ]
    return certify_levels(
        *judged, [0.9], level="whole_call", delta=0.05, model_id=student.model_id, teacher="t", offered=decisions
    )[0.9]


def test_a_prompted_student_goes_through_the_same_certificate_and_gate() -> None:
    planted = Planted(1)
    decisions = planted.decisions(160)
    told = "\n".join(f"{word} means {tool}" for word, tool in planted.rules.items())
    with serving(planted) as url:
        good, bad = PromptedStudent(told, Chat(url)), PromptedStudent("Choose.", Chat(url))
        certificate, refused = certified(good, decisions), certified(bad, decisions)
        assert certificate.certified, certificate.reason
        assert certificate.accepts(good.propose(decisions[0].state))
        assert not refused.certified
    assert good.spent.requests == 161
    assert good.spent.input_tokens == 161 * (len(told) // 4)
    assert good.spent.cost(1.0, 2.0) == pytest.approx((good.spent.input_tokens + 2 * 161 * 5) / 1e6)
    assert 0 < (good.spent.latency(0.5) or 0) <= (good.spent.latency(0.99) or 0)
    assert planted.requests[0]["messages"][0] == {"role": "system", "content": told}
    assert planted.requests[0]["tools"][0]["function"]["name"] == "lookup"


class Says:
    """A server that answers the same, whatever is asked."""

    def __init__(self, answer: Any, status: int = 200) -> None:
        self.answer, self.status, self.requests = answer, status, []

    def reply(self, body: Any) -> tuple[int, Any]:
        return self.status, self.answer


def calling(name: str, arguments: str) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"choices": [{"message": {"role": "assistant", "tool_calls": [call]}}]}


@pytest.mark.parametrize(
    ("reply", "calls", "confidence"),
    [
        (calling("refund", '{"id": 7}'), (ToolCall("refund", {"id": 7}),), 1.0),
        (calling("refund", "{}"), (), 0.0),
        (calling("no_such_tool", "{}"), (), 0.0),
        (calling("refund", "not json"), (), 0.0),
        ({"choices": [{"message": {"role": "assistant", "content": "hello"}}]}, (), 1.0),
    ],
)
def test_only_valid_calls_of_offered_tools_are_proposed(reply: Any, calls: Any, confidence: float) -> None:
    with serving(Says(reply)) as url:
        proposal = PromptedStudent("p", Chat(url)).propose(said("money back"))
    assert (proposal.calls, proposal.confidence) == (calls, confidence)


@pytest.mark.parametrize(
    "server", [Says(b"<html>"), Says({"choices": []}), Says([]), Says({"error": "no"}, 500), Says(b"", 302)]
)
def test_a_server_that_answers_otherwise_is_named(server: Says) -> None:
    with serving(server) as url, pytest.raises(ChatError, match=r"127\.0\.0\.1"):
        PromptedStudent("p", Chat(url)).propose(said("money back"))


CLOSED = {"type": "object", "properties": {"id": {}}, "required": ["id"], "additionalProperties": False}


class Picky(Says):
    """Takes no field that it does not know, as some servers do."""

    def reply(self, body: Any) -> tuple[int, Any]:
        unknown = any("strict" in tool["function"] for tool in body["tools"])
        return (400, {"error": "unknown field strict"}) if unknown else (200, self.answer)


def test_closed_schemas_are_offered_as_strict_where_the_server_takes_that() -> None:
    state = said("money back", [Tool("refund", "Give", CLOSED), TOOLS[0]])
    answers = Says(calling("refund", '{"id": 7}'))
    with serving(answers) as url:
        PromptedStudent("p", Chat(url)).propose(state)
    offered = {tool["function"]["name"]: tool["function"].get("strict") for tool in answers.requests[0]["tools"]}
    assert offered == {"refund": True, "track_order": None}
    picky = Picky(calling("refund", '{"id": 7}'))
    with serving(picky) as url:
        student = PromptedStudent("p", Chat(url))
        assert [student.propose(state).action for _ in range(3)] == ["refund"] * 3
        assert len(picky.requests) == 4, "refused once, then asked without"
    refusing = Says({"error": "no"}, 400)
    with serving(refusing) as url, pytest.raises(ChatError, match="status 400"):
        PromptedStudent("p", Chat(url)).propose(state)


def test_no_error_holds_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving(Says({"error": "no"}, 401)) as url, pytest.raises(ChatError) as error:
        Chat(url).complete([])
    assert "sk-secret" not in str(error.value)
    for url in ("ftp://x", "not a url", "http://user:pass@host/v1", "http://host:port/v1"):
        with pytest.raises(ConfigurationError):
            Chat(url)


def test_it_is_published_and_loaded_by_its_kind(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    registry = ModelRegistry(tmp_path, store)
    student = PromptedStudent("ü {x}", Chat("http://localhost:1/v1", model="m"), {"tool_choice": "auto"})
    model_id = registry.publish(student)
    loaded = registry.load(model_id)
    assert isinstance(loaded, PromptedStudent)
    assert (loaded.prompt, loaded.options, loaded.model_id) == (student.prompt, student.options, model_id)
    config = registry.folder_of(model_id) / "config.json"
    config.write_bytes(msgspec.json.encode({**msgspec.json.decode(config.read_bytes()), "url": "http://evil/v1"}))
    with pytest.raises(ArtefactError, match="differs from its manifest"):
        registry.load(model_id)
    store.close()
