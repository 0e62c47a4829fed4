"""Which requests a local call can answer at all: an allow-list, so that what is new goes to the teacher.

What this file does not know: students and certificates.
"""

from __future__ import annotations

from typing import Any

from ultracore.distillation.serve.wire import ChatRequest

__all__ = ["unsupported"]

FREE = frozenset(
    {
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "seed",
        "service_tier",
        "stream",
        "temperature",
        "top_p",
        "user",
        "verbosity",
    }
)
"""Options whose value does not change what a correct answer is."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "tool_choice": ("auto", "none", "required"),
}
"""Options that a local call answers for these values only; null and absence always count as neutral."""


def unsupported(request: ChatRequest) -> str:
    """Why a local call cannot answer this request whatever it says; "" if it can."""
    for name, value in request.options.items():
        if not _supported(name, value):
            return f"the option {name} with this value"
    if any(not _is_text(message.get("content")) for message in request.messages):
        return "content that is not text"
    return ""


def _supported(name: str, value: Any) -> bool:
    if value is None or name in FREE:
        return True
    if name == "tool_choice" and isinstance(value, dict):
        return _names_a_function(value)
    if name == "stream_options":
        return isinstance(value, dict) and value.keys() <= {"include_usage", "include_obfuscation"}
    return any(type(value) is type(neutral) and value == neutral for neutral in NEUTRAL.get(name, ()))


def _names_a_function(choice: dict[str, Any]) -> bool:
    function = choice.get("function")
    return choice.get("type") == "function" and isinstance(function, dict) and isinstance(function.get("name"), str)


def _is_text(content: Any) -> bool:
    if isinstance(content, list):
        return all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    return content is None or isinstance(content, str)
