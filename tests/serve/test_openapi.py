"""The OpenAPI document is true: it names every route, and every operation answers as it says, whatever is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultracore.distillation.serve.feedback import Feedback
from ultracore.distillation.serve.openapi import FEEDBACK, document
from ultracore.distillation.serve.upstream import Upstream

schemathesis = pytest.importorskip("schemathesis", reason="the development requirements are older than this test")
general, checks = schemathesis.checks, pytest.importorskip("schemathesis.specs.openapi.checks")

OPERATIONS = [(path, method) for path, item in document()["paths"].items() for method in item]
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
WITH_BODY = [(p, m) for p, m in OPERATIONS if "requestBody" in document()["paths"][p][m]]
CASES = [(POSITIVE, *place) for place in OPERATIONS] + [(NEGATIVE, *place) for place in WITH_BODY]
CHECKS = [
    general.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


def test_the_document_names_every_route_and_no_other(world: Any) -> None:
    routes = {(route.path, method.lower()) for route in world.app(None).routes for method in route.methods - {"HEAD"}}
    relayed = {(path, method) for path, method in routes if "{path:path}" in path}
    assert routes - relayed == set(OPERATIONS)


def test_the_document_is_served_and_knows_the_fields_of_feedback(world: Any) -> None:
    async def ask() -> Any:
        async with world.client(None) as client:
            return (await client.get("/openapi.json")).json()

    assert asyncio.run(ask()) == document()
    assert FEEDBACK["properties"].keys() == {field.name for field in msgspec.structs.fields(Feedback)}


@pytest.fixture(scope="module")
def served(fakes: Any, teacher_server: Any) -> Any:
    """The gateway over HTTP: schemathesis brings a client of its own."""
    world = fakes.World()
    teacher_server[0].reset()  # a test before may have left it silent
    with fakes.Running(world.app(Upstream(teacher_server[1], key="sk"))) as url:
        yield schemathesis.openapi.from_dict(document()), url.removesuffix("/v1")


def conforms(served: Any, path: str, method: str, data: st.DataObject, mode: Any) -> None:
    schema, url = served
    case = data.draw(schema[path][method.upper()].as_strategy(generation_mode=mode))
    reply = case.call(base_url=url, timeout=10)
    case.validate_response(reply, checks=CHECKS)


@pytest.mark.parametrize(("mode", "path", "method"), CASES)
@given(data=st.data())
@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_documented(
    served: Any, mode: Any, path: str, method: str, data: st.DataObject
) -> None:
    conforms(served, path, method, data, mode)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("mode", "path", "method"), CASES)
@given(data=st.data())
@settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_documented_500_times(
    served: Any, mode: Any, path: str, method: str, data: st.DataObject
) -> None:
    conforms(served, path, method, data, mode)
