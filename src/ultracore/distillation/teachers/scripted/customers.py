"""Customers that talk: one task's words, a function of the task and of what the bank last said.

The same question gets the same words in every trial of a task. What this file does not know: the
teacher's rules; it reads the bank's replies as a person would.
"""

# ruff: noqa: E501 - a sentence pattern reads best on one line.

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random

from ultracore.distillation.teachers.scripted import dates
from ultracore.distillation.teachers.scripted.goals import Goal, make_goal
from ultracore.distillation.teachers.scripted.grammar import expand, misspell, stream
from ultracore.distillation.teachers.scripted.people import Record, make_customer
from ultracore.distillation.teachers.scripted.replies import topic_in
from ultracore.distillation.teachers.scripted.steps import WORK

__all__ = ["Customer", "Task", "make_task"]

BANK_SIZE = 250
_HELLO = "[Hi|Hello|Good morning|Hey there|Good evening|Dear bank]"
_CHATTER = (
    "[What a day!|I hope you can help me.|I am in a bit of a hurry.|I tried the app, no luck.|It is raining here again.|"
    "My phone nearly died.|This is a bit embarrassing.|I was on hold for ages.|Your website logged me out.]"
)
_YES = (
    "[yes|Yes, please|yeah|sure|ok|Okay, do it|correct|go ahead|Yes, that is right|right|exactly|perfect, thanks|fine|"
    "of course|absolutely|yep, go ahead|Sounds good|please do]"
)
_BYE = "[No, thanks|That's all, thank you|no that was all|Thanks, bye|Great, thank you!|nothing else|All good, bye]"
_UNSURE = "[How long will that take?|Does that cost anything?|Will I get an e-mail about it?|And is that safe?]"
_TROUBLE = 0.06
_PATIENCE = 5


@dataclass(frozen=True)
class Task:
    """Who asks for what, when, and in which manner."""

    name: str
    customer: Record
    today: date
    goals: tuple[Goal, ...]
    identity: dict[str, str]
    upfront: bool
    typo_rate: float


@dataclass
class Customer:
    """One conversation's customer; `reply` returns `None` once they have left.

    Attributes:
        task: What they want.
    """

    task: Task
    _asked: Counter[str] = field(default_factory=Counter)
    _begun: int = 0

    def open(self) -> str:
        """The first message."""
        rng = stream(self.task.name, "open")
        parts = [expand(f"[{_HELLO}.|{_HELLO},||]", rng), expand(f"[{_CHATTER}|||]", rng)]
        who = self.task.identity["first"] if self.task.upfront else ""
        wish = self._next_wish(rng)
        parts += [who, wish] if rng.random() < 0.6 else [wish, who]
        return self._type(" ".join(part for part in parts if part), rng)

    def reply(self, said: str) -> str | None:
        """Answer what the bank said last."""
        topic = topic_in(said)
        self._asked[topic] += 1
        rng = stream(self.task.name, topic, self._begun, self._asked[topic])
        words = None if topic == "goodbye" else self._answer(topic, said, rng)
        return None if words is None else self._type(words.strip(), rng)

    def _answer(self, topic: str, said: str, rng: Random) -> str | None:
        if topic in ("identity", "birth_date"):
            first_time = topic == "identity" and self._asked[topic] == 1 and not self.task.upfront
            return self.task.identity["first" if first_time else topic]
        if topic == "confirm":
            return self._decide(said, rng)
        if topic == "hold":
            return expand("[No, please go on.|Nothing special.|Please continue.|Not that I know.]", rng)
        if topic in ("summary", "request"):
            return self._go_on(rng)
        answer = self._goal(said, topic).answers.get(topic, "") if self._asked[topic] < _PATIENCE else ""
        return answer or expand("[I am not sure|You tell me], never mind then.", rng)

    def _decide(self, said: str, rng: Random) -> str:
        goal = self._goal(said, "confirm")
        self._asked[goal.words] += 1
        if goal.change and self._asked[goal.words] == 1:
            return goal.change
        if self._asked[goal.words] == 1 and rng.random() < _TROUBLE:
            return expand(_UNSURE, rng)
        return expand(f"{_YES}[.|!|]", rng)

    def _go_on(self, rng: Random) -> str | None:
        if self._begun < len(self.task.goals):
            return expand("[Yes.|Thanks.|Great.|One more thing.||]", rng) + " " + self._next_wish(rng)
        return None if rng.random() < 0.6 else expand(_BYE, rng)

    def _next_wish(self, rng: Random) -> str:
        """The next goal's opening words; now and then two goals in one breath."""
        first = self._sentence(rng)
        if self._begun < len(self.task.goals) and rng.random() < 0.3:
            also = expand("[Also,|And also|Then I also have another thing:]", rng)
            return f"{first} {also} {self._sentence(rng, upper=0.0)}"
        return first

    def _sentence(self, rng: Random, upper: float = 0.7) -> str:
        words = self.task.goals[self._begun].words.strip()
        self._begun += 1
        words = expand("[{w}|{w}|{w} please|{w}, if possible]", rng, w=words)
        return f"{words[0].upper() if rng.random() < upper else words[0]}{words[1:]}{rng.choice('..?!')}"

    def _goal(self, said: str, topic: str) -> Goal:
        begun = self.task.goals[: self._begun]
        named = [goal for goal in begun if WORK[goal.kind] in said]
        able = [goal for goal in begun if topic in goal.answers]
        return (named or able or list(begun))[-1]

    def _type(self, words: str, rng: Random) -> str:
        return misspell(words, rng, self.task.typo_rate)


def make_task(name: str, seed: int, year: int) -> Task:
    """Draw a task; everything in it depends on the arguments alone."""
    rng = stream(seed, name)
    today = date(year, 1, 10) + timedelta(rng.randrange(340))
    customer = make_customer(seed, rng.randrange(BANK_SIZE), today)
    goals = tuple(make_goal(customer, today, rng) for _ in range(rng.choices((1, 2, 3), (0.8, 0.15, 0.05))[0]))
    kinds: dict[str, Goal] = {goal.kind: goal for goal in goals}
    return Task(
        name=f"{seed}/{name}",
        customer=customer,
        today=today,
        goals=tuple(kinds.values()),
        identity=_identity(customer, rng),
        upfront=rng.random() < 0.6,
        typo_rate=rng.choice((0.0, 0.0, 0.03, 0.1)),
    )


def _identity(customer: Record, rng: Random) -> dict[str, str]:
    name, number = customer["name"], customer["customer_id"]
    born = dates.say_birth_date(date.fromisoformat(customer["birth_date"]), rng)
    full, wrong = f"{name['first']} {name['last']}", f"{name['last']}.{name['first']}@example.com".lower()
    by_number = "[My customer number is {n}|Customer number {n}|My number is {n}|Customer number {d}|I'm {f}, customer number {n}]"
    by_mail = "[My e-mail is {m}|You have me under {m}|I'm {f}, {m}|E-mail: {m}]"
    by_name = (
        "[My name is {f}, born {b}|I'm {f}, born on {b}|{l}, {g}; born {b}|This is {f}, date of birth {b}|I am {f}]"
    )
    how = rng.choices((by_number, by_mail, by_name), (0.42, 0.33, 0.25))[0]
    mail = customer["email"] if rng.random() < 0.95 else wrong
    first = expand(how, rng, n=number, d=number[1:], f=full, m=mail, b=born, l=name["last"], g=name["first"])
    sure = expand("[It is|Sorry, the number is|customer number:] {n}", rng, n=number)
    return {
        "first": f"{first}.",
        "identity": f"{sure}.",
        "birth_date": expand("[It is|I was born on|] {b}.", rng, b=born),
    }
