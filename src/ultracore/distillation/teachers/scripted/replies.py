"""What the teacher says, by topic, and how a reader of its words tells the topic again.

Each topic's sentences share a marker, so that the policy and the customers can both work from the
messages alone. What this file does not know: when something is said (`policy`).
"""

# ruff: noqa: E501 - a sentence pattern reads best on one line.

from __future__ import annotations

from random import Random

from ultracore.distillation.teachers.scripted.grammar import expand

__all__ = ["say", "topic_in"]

_PLEASE = "[Please|Could you please|Would you please]"
_CLOSE = "[Shall I go ahead?|Is that right?|Do you want me to do that?|Please confirm with yes or no.]"

_MARKERS = {
    "identity": "customer number",
    "birth_date": "date of birth",
    "request": "How can I help",
    "card": "Which card",
    "account": "Which account",
    "amount": "How much",
    "payee": "Who should receive",
    "limits": "Which limit",
    "orders": "Which standing order",
    "transactions": "Which payment",
    "reason": "What happened",
    "period": "For which period",
    "contact": "What should the new",
    "hold": "before I go on",
    "summary": "anything else",
    "goodbye": "Goodbye",
}  # fmt: skip
_CLOSINGS = ("Shall I go ahead?", "Is that right?", "Do you want me to do that?", "Please confirm with yes or no.")

_TEXTS = {
    "identity": f"[Of course.|Happy to help.|I can help with that.|] [First I need to know who you are.|] {_PLEASE} [tell|give] me "
    "your customer number, your e-mail address, or your full name with date of birth.",
    "retry": f"[Sorry, I cannot find that.|There is no such customer, I am afraid.] {_PLEASE} [check|repeat] the customer number or e-mail address.",
    "birth_date": f"[Thank you.|Thanks.] {_PLEASE} also [tell|give] me your date of birth.",
    "request": "[Hello!|Good day!|Welcome!] How can I help you [today|]?",
    "card": "[Sure.|] Which card [do you mean|is it] for [{work}|the {work}]? [I see {options}.|You have {options}.]",
    "account": "[Sure.|] Which account [do you mean|shall I use] for the {work}? [You have {options}.|There are {options}.]",
    "amount": "How much should [I transfer|the transfer be for]?",
    "payee": "[I do not find that name among your payees.|That is not clear to me.] Who should receive the transfer? [You have saved {options}.|]",
    "limits": "Which limit [of the card|] should I change, and to what amount?",
    "orders": "Which standing order [do you mean|shall I cancel]? [There are {options}.|I see {options}.]",
    "transactions": "Which payment [do you mean|shall I dispute]? [I find {options}.|Please give me the name, the date or the amount.]",
    "reason": "[I am sorry to hear that.|] What happened, for the {work}?",
    "period": "For which period [do you need|shall I send] the statement?",
    "contact": "What should the new [e-mail address, phone number or address|contact details] be?",
    "hold": "[One question|Just a moment], before I go on: [is there something I should know|may I continue] about the {work}?",
    "confirm": f"[Let me check that I understood:|To confirm:|Just to be sure:] the {{work}}, [{{details}}|{{details}}|as you asked|as we discussed]. {_CLOSE}",
    "summary": "{outcome} [Is there anything else?|Can I do anything else for you?|May I help with anything else?]",
    "goodbye": "[You are welcome.|My pleasure.|Thank you for calling.] Goodbye[!| and have a nice day!]",
}


def say(topic: str, rng: Random, **about: object) -> str:
    """Word a reply on a topic; `about` fills its slots."""
    return expand(_TEXTS[topic], rng, **about)


def topic_in(text: str) -> str:
    """The topic of a reply that `say` worded; `confirm` wherever it closes with a yes-or-no question."""
    if text.endswith(_CLOSINGS):
        return "confirm"
    return next((topic for topic, marker in _MARKERS.items() if marker in text), "summary")
