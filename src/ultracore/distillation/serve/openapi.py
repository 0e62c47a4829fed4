"""The gateway's OpenAPI document: what it takes and answers itself, and how it refuses.

Bodies that are the teacher's are described as far as they are checked here. A test compares the paths
with the router and calls every operation. What this file does not know: how anything is answered.
"""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import Any

__all__ = ["document"]

Json = dict[str, Any]

ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
MESSAGE_ERROR: Json = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}
MESSAGES: Json = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "required": ["role"], "properties": {"role": {"type": "string"}}},
}
TOOLS: Json = {"type": ["array", "null"], "maxItems": 1024, "items": {"type": "object"}}
COMMON: Json = {
    "model": {"type": "string", "minLength": 1},
    "tools": TOOLS,
    "stream": {"type": ["boolean", "null"]},
}
CHAT: Json = {"type": "object", "required": ["model", "messages"], "properties": {**COMMON, "messages": MESSAGES}}
RESPONSE: Json = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        **COMMON,
        "input": {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "object"}}]},
    },
}
MESSAGE: Json = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        **COMMON,
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"type": "string"},
                    "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
                },
            },
        },
    },
}
FEEDBACK: Json = {
    "type": "object",
    "required": ["success"],
    "additionalProperties": False,
    "oneOf": [
        {"required": ["receipt"], "properties": {"receipt": {"type": "string"}, "request_id": {"type": "null"}}},
        {"required": ["request_id"], "properties": {"request_id": {"type": "string"}, "receipt": {"type": "null"}}},
    ],
    "properties": {
        "receipt": {"type": ["string", "null"]},
        "request_id": {"type": ["string", "null"]},
        "success": {"type": "boolean"},
        "score": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "result": {},
        "error": {"type": ["string", "null"]},
        "cost_usd": {"type": ["number", "null"]},
    },
}
ANY: Json = {"type": "object"}
SQL: Json = {
    "type": "object",
    "required": ["query"],
    "additionalProperties": False,
    "properties": {"query": {"type": "string"}},
}
PRODUCT: Json = {"name": "product_id", "in": "path", "required": True, "schema": {"type": "string"}}
PARAMETERS: dict[str, list[Json]] = {
    "/rows": [
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 10000}},
        {"name": "offset", "in": "query", "schema": {"type": "integer", "minimum": 0}},
        {"name": "personal", "in": "query", "schema": {"type": "boolean"}},
        {"name": "format", "in": "query", "schema": {"enum": ["json", "jsonl"]}},
    ],
    "/statistics": [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("agent_id", "time_window_hours", "dataset_version", "model_id")
    ],
}
"""Parameters of a product's routes; a filter is a column's name, with an operator as in `timestamp.gte`."""
ASKING = {
    "x-distill-force": "`teacher` forbids the student; any other value says nothing.",
    "x-distill-agent": "Who asks, unless the key says it.",
    "x-distill-session": "The conversation; derived from its beginning by default.",
    "idempotency-key": "Retries with the same key get the answer of the first try.",
}
HEADERS: Json = {
    f"x-distill-{name}": {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "receipt": "Id of the decision in the log; name it in feedback.",
        "source": "Who answered: student or teacher.",
        "model": "The model that answered.",
        "certificate": "Fingerprint of the student's certificate.",
        "reason": "Why the teacher answered, from the closed list.",
    }.items()
}


@functools.cache
def document() -> Json:
    """The document, as OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "distill gateway", "version": version("ultracore-distillation")},
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}, {}],
        "paths": {
            "/v1/chat/completions": {"post": _decision("A chat completion", CHAT)},
            "/v1/responses": {"post": _decision("A response", RESPONSE)},
            "/v1/messages": {"post": _decision("A message of Anthropic's", MESSAGE, MESSAGE_ERROR)},
            "/v1/models": {"get": _operation("The teacher's models", {"200": _json(ANY)}, "502", "503", "504")},
            "/v1/feedback": {
                "post": _operation(
                    "What came of a decision",
                    {"201": _json(ANY, "Written down.")},
                    *("400", "404", "408", "409", "413", "415", "503"),
                    body=FEEDBACK,
                )
            },
            **_products(),
            "/healthz": {"get": _operation("The process answers", {"200": _json(ANY)})},
            "/readyz": {"get": _operation("It can do its work", {"200": _json(ANY), "503": _json(ANY)})},
            "/metrics": {"get": _operation("Counts for Prometheus", {"200": _text("The counts.")})},
            "/openapi.json": {"get": _operation("This document", {"200": _json(ANY)})},
            "/admin/pause": {"post": _operation("Send everything to the teacher", {"200": _json(ANY)}, "503")},
            "/admin/resume": {"post": _operation("Let the student answer again", {"200": _json(ANY)}, "503")},
        },
    }


def _products() -> Json:
    """The data products; filters by column are parameters of their own, so that any other name is refused."""
    of_one = {
        "": ("A product's columns and owner", _json(ANY)),
        "/contract": (
            "Its contract, ODCS v3",
            {"description": "YAML.", "content": {"application/yaml": {"schema": {}}}},
        ),
        "/statistics": ("Its figures", _json(ANY)),
        "/quality": ("Its quality, measured now", _json(ANY)),
        "/lineage": ("Where its rows come from", _json(ANY)),
        "/rows": ("Its rows, filters before limit and offset", _rows()),
    }
    refusals = ("400", "404", "503")
    single = {
        f"/v1/products/{{product_id}}{path}": {
            "get": {
                **_operation(summary, {"200": answer}, *refusals),
                "parameters": [PRODUCT, *PARAMETERS.get(path, [])],
            }
        }
        for path, (summary, answer) in of_one.items()
    }
    asked = _operation("SQL over all products", {"200": _json(ANY)}, "400", "408", "413", "415", "503", body=SQL)
    listed = _operation("The catalogue of data products", {"200": _json(ANY)})
    return {"/v1/products": {"get": listed}, "/v1/products/sql": {"post": asked}, **single}


def _rows() -> Json:
    lines = {"application/json": {"schema": ANY}, "application/x-ndjson": {"schema": {}}}
    return {"description": "Rows, or a line a row.", "content": lines}


def _decision(summary: str, body: Json, error: Json = ERROR) -> Json:
    answer = {
        "description": "The student's answer, or the teacher's as it came.",
        "headers": HEADERS,
        "content": {"application/json": {"schema": ANY}, "text/event-stream": {"schema": {}}},
    }
    refusals = ("400", "408", "409", "413", "415", "422", "502", "503", "504")
    operation = _operation(summary, {"200": answer}, *refusals, body=body, error=error)
    return {**operation, "parameters": [_header(name, text) for name, text in ASKING.items()]}


def _header(name: str, text: str) -> Json:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}


def _operation(summary: str, answers: Json, *refusals: str, body: Json | None = None, error: Json = ERROR) -> Json:
    responses = {status: _json(error, "Refused.") for status in ("401", "403", "429", *refusals)}
    operation: Json = {"summary": summary, "responses": {**responses, **answers}}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _json(schema: Json, description: str = "The answer.") -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _text(description: str) -> Json:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}
