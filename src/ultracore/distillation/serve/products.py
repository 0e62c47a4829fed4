"""Data products over HTTP, below `/v1/products`: each key sees its tenant's rows, personal columns need `admin`.

Filters come before limit and offset; a large result streams, a line a row. What this file does not know: what is in
the products.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial, wraps
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ultracore.distillation.errors import EventError, LogError, ProductError
from ultracore.distillation.products.catalogue import catalogue, product_class
from ultracore.distillation.products.contract import PRODUCT_IDS
from ultracore.distillation.products.filters import condition_of, parse_filters
from ultracore.distillation.products.product import DataProduct
from ultracore.distillation.products.sql import Answer, open_session
from ultracore.distillation.products.store import ProductStore
from ultracore.distillation.serve.app import READERS, Endpoint
from ultracore.distillation.serve.guard import caller_of, read_body
from ultracore.distillation.serve.keys import Scope
from ultracore.distillation.serve.operations import json_response
from ultracore.distillation.serve.wire import RequestError

__all__ = ["product_endpoints"]

DEFAULT_LIMIT = 100
CONTROLS = frozenset({"limit", "offset", "personal", "format"})
"""Parameters that are no columns."""

Call = Callable[[Request], Awaitable[Response]]


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a SQL request."""

    query: str


def product_endpoints(rows: ProductStore) -> list[Endpoint]:
    """The routes of the products.

    Args:
        rows: The projected rows, of all tenants.
    """
    routes = _Routes(rows)
    of_one = {
        "": routes.schema, "/contract": routes.contract, "/rows": routes.rows, "/statistics": routes.statistics,
        "/quality": routes.quality, "/lineage": routes.lineage,
    }  # fmt: skip
    return [
        Endpoint("/v1/products", ("GET",), routes.catalogue, READERS),
        Endpoint("/v1/products/sql", ("POST",), _explained(routes.sql), READERS),
        *(
            Endpoint(f"/v1/products/{{product_id}}{path}", ("GET",), _explained(call), READERS)
            for path, call in of_one.items()
        ),
    ]


class _Routes:
    def __init__(self, rows: ProductStore) -> None:
        self._rows = rows
        self._one_at_a_time = asyncio.Semaphore(1)  # a SQL session may need 768 MB

    async def catalogue(self, request: Request) -> Response:
        return json_response({"object": "list", "data": catalogue()})

    async def schema(self, request: Request) -> Response:
        return json_response(self._product(request).get_schema())

    async def contract(self, request: Request) -> Response:
        return Response(self._product(request).contract.text, media_type="application/yaml")

    async def rows(self, request: Request) -> Response:
        product, parameters = self._product(request), request.query_params
        pairs = [(name, value) for name, value in parameters.multi_items() if name not in CONTROLS]
        wanted = parse_filters(pairs, product.contract)
        condition_of(wanted, product.contract)  # what cannot be asked is refused before the first byte
        personal = _flag(parameters.get("personal", "false"), "personal")
        if personal and caller_of(request).scope != Scope.ADMIN:
            raise RequestError(403, "personal columns are for keys of scope admin", code="insufficient_scope")
        if parameters.get("format", "json") == "jsonl":
            pages = await asyncio.to_thread(lambda: product.pages(wanted, personal=personal))
            return StreamingResponse(_lines(pages), media_type="application/x-ndjson")
        if parameters.get("format", "json") != "json":
            raise RequestError(400, "format is json or jsonl", code="invalid_format")
        limit, offset = _number(parameters.get("limit"), DEFAULT_LIMIT), _number(parameters.get("offset"), 0)
        query = partial(product.query, wanted, limit=limit, offset=offset, personal=personal)
        found = await asyncio.to_thread(query)
        return json_response({"object": "list", "data": found, "limit": limit, "offset": offset})

    async def statistics(self, request: Request) -> Response:
        product, given = self._product(request), request.query_params
        figures: Callable[[], Any]
        if product.product_id == "agent_decision_history":
            hours = _hours(given.get("time_window_hours", "24"))
            figures = partial(product.get_statistics, given.get("agent_id"), hours)
        elif product.product_id == "distillation_training_data":
            figures = partial(product.get_statistics, given.get("dataset_version"))
        else:
            figures = partial(product.get_latest, given.get("model_id"))
        return json_response(await asyncio.to_thread(figures))

    async def quality(self, request: Request) -> Response:
        product = self._product(request)
        async with self._one_at_a_time:
            return json_response(await asyncio.to_thread(partial(product.measure_quality, record=False)))

    async def lineage(self, request: Request) -> Response:
        return json_response(await asyncio.to_thread(self._product(request).get_lineage))

    async def sql(self, request: Request) -> Response:
        body = await read_body(request)
        try:
            question = msgspec.json.decode(body, type=Question)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestError(400, f'the body is {{"query": "SELECT ..."}}: {error}', code="invalid_body") from None
        tenant = caller_of(request).tenant
        async with self._one_at_a_time:
            answer = await asyncio.to_thread(self._asked, tenant, question.query)
        text = msgspec.json.encode({"columns": answer.columns, "rows": answer.rows}, enc_hook=str)
        return Response(text, media_type="application/json")

    def _asked(self, tenant: str, query: str) -> Answer:
        session = open_session(self._rows, tenant)
        try:
            return session.ask(query)
        finally:
            session.close()

    def _product(self, request: Request) -> Any:
        """The product of the path, with the rows of the key's tenant.

        Raises:
            RequestError: 404, there is no such product.
        """
        product_id = request.path_params["product_id"]
        if product_id not in PRODUCT_IDS:
            known = ", ".join(PRODUCT_IDS)
            raise RequestError(404, f"there is no such data product; there are: {known}", code="unknown_product")
        made: DataProduct = product_class(product_id)(self._rows.log, tenant=caller_of(request).tenant, rows=self._rows)
        return made


def _explained(call: Call) -> Call:
    """What the products refuse is the asker's to mend; a log that is down is not."""

    @wraps(call)
    async def explained(request: Request) -> Response:
        try:
            return await call(request)
        except RequestError:
            raise
        except LogError:
            headers = {"retry-after": "1"}
            raise RequestError(503, "the log cannot be read now", code="log_unavailable", headers=headers) from None
        except (ProductError, EventError) as error:
            raise RequestError(400, str(error), code="invalid_query") from None

    return explained


def _lines(pages: Iterator[Any]) -> Iterator[bytes]:
    for page in pages:
        yield b"".join(msgspec.json.encode(row) + b"\n" for row in page)


def _number(text: str | None, default: int) -> int:
    try:
        return default if text is None else int(text)
    except ValueError:
        raise ProductError("limit and offset are whole numbers") from None


def _hours(text: str) -> float | None:
    try:
        return None if text == "null" else float(text)
    except ValueError:
        raise ProductError("time_window_hours is a number, or null for everything") from None


def _flag(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise ProductError(f"{name} is true or false")
    return text == "true"
