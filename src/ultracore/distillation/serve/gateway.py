"""The endpoints that hold decisions: every request gets a verdict, an answer and a line in the log.

A student's decision is synced before the first byte of its answer, a teacher's is written when its answer
has passed. What this file does not know: how a student decides, and how answers look on the wire.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import NamedTuple

from starlette.requests import Request
from starlette.types import ASGIApp

from ultracore.distillation.agreement import NO_COMPARATORS
from ultracore.distillation.decisions import action_of
from ultracore.distillation.errors import EventError, LogError
from ultracore.distillation.events import AlertRaisedEvent, EventStore
from ultracore.distillation.events.base import new_event_id
from ultracore.distillation.serve.audit import AuditLimits, Auditor
from ultracore.distillation.serve.budget import Budgets
from ultracore.distillation.serve.control import Switch
from ultracore.distillation.serve.decider import Decider
from ultracore.distillation.serve.deployment import Canary
from ultracore.distillation.serve.dialect import Dialect
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.feedback import RequestIds, find_decision, parse_feedback
from ultracore.distillation.serve.gate import Escalate, Gate, Reason, Send
from ultracore.distillation.serve.guard import caller_of, read_body
from ultracore.distillation.serve.headers import QuickHeaders, headers_of
from ultracore.distillation.serve.idempotency import IdempotencyCache, IdempotencyKey
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.keys import Key
from ultracore.distillation.serve.local import LocalAnswer, log_down
from ultracore.distillation.serve.metrics import Metrics
from ultracore.distillation.serve.offer import read_offer
from ultracore.distillation.serve.operations import json_response
from ultracore.distillation.serve.policy import Policy, workload_of
from ultracore.distillation.serve.recent import Recent
from ultracore.distillation.serve.recurring import recurring_of
from ultracore.distillation.serve.relay import Call, Relay
from ultracore.distillation.serve.sampling import AuditShares
from ultracore.distillation.serve.schema_changes import SchemaChanges
from ultracore.distillation.serve.shadow import Shadow
from ultracore.distillation.serve.spill import Spill
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.wire import ChatRequest, RequestError, session_of
from ultracore.distillation.settings import Settings

__all__ = ["Gateway"]

STATELESS = ("audio/", "completions", "embeddings", "images/", "messages/count_tokens", "moderations")
"""Paths below which the teacher keeps nothing for its customer, so that tenants cannot meet there."""


class _Asked(NamedTuple):
    """A request before the gate is asked; `refused` where it is not to be."""

    dialect: Dialect
    request: ChatRequest
    headers: QuickHeaders
    tenant: str
    session: str
    agent_id: str
    started: float
    refused: Escalate | None
    gate: Gate | None


class Gateway:
    """The endpoints, and what they share.

    Attributes:
        gate: Who decides on the next request; replace it to change models.
        canary: Who decides instead for a share of the conversations, if there is one.
        journal: The log's pen; `journal.lost` counts events that could not be written.
        upstream: The teacher's server, if there is one.
        switch: Whether an operator has paused it.
        metrics: What it counted.
    """

    def __init__(
        self,
        store: EventStore,
        upstream: Upstream | None,
        gate: Gate | None,
        settings: Settings,
        *,
        clock: Callable[[], datetime],
        decider: Decider,
        switch: Switch,
        shares: AuditShares,
        spill: Spill | None,
    ) -> None:
        self.gate = gate
        self.canary: Canary | None = None
        self.upstream = upstream
        self.switch = switch
        self._store = store
        self._settings = settings
        self._clock = clock
        self._decider = decider
        self._shares = shares
        self._policy = Policy(settings, switch)
        self._budgets = Budgets(settings.home_path / "budgets", clock)
        self._ids = RequestIds()
        self._idempotency = IdempotencyCache(settings.idempotency_seconds)
        self._recent = Recent()
        self._schemas = SchemaChanges()
        self._shadow = Shadow(decider, lambda event: self.journal.later(event))
        self.metrics = Metrics(
            healthy=lambda: self.journal.healthy,
            paused=lambda: switch.paused,
            waiting=lambda: 0 if spill is None else spill.waiting,
        )
        observers = (self.metrics, self._shadow, self._budgets, self._ids)
        self.journal = Journal(store, spill=spill, strict=settings.durability == "strict", observers=observers)
        limits = AuditLimits(dollars_a_day=settings.audit_dollars_a_day)
        self._auditor = None if upstream is None else Auditor(upstream, self.journal, limits=limits)

    async def aclose(self) -> None:
        """Finish what runs in the background."""
        await self._shadow.aclose()
        if self._auditor is not None:
            await self._auditor.aclose()
        self.journal.flush()
        if self.upstream is not None:
            await self.upstream.aclose()
        self._decider.close()

    def disabled(self, gate: Gate) -> None:
        """Say that a student failed too often and is not asked any more."""
        event = AlertRaisedEvent.record(
            alert_id=f"student-disabled-{uuid.uuid4().hex[:12]}",
            name="student_disabled",
            severity="critical",
            message="the student failed too often and is not asked any more; the teacher answers",
            model_id=gate.student.model_id,
            tenant_id=self._settings.tenant,
            clock=self._clock,
        )
        self.journal.later(event)

    async def decide(self, dialect: Dialect, request: Request) -> ASGIApp:
        """`POST /v1/chat/completions`, `POST /v1/responses` and `POST /v1/messages`."""
        headers = headers_of(request)
        if not headers.get("content-type", "").startswith("application/json"):
            raise RequestError(415, "send application/json", code="unsupported_media_type")
        body = await read_body(request)
        key = headers.get("idempotency-key")
        if not key:
            return await self._answer(dialect, request, body, None)
        cache_key = IdempotencyKey(caller_of(request).key_id, hashlib.sha256(key.encode()).digest())
        earlier = self._idempotency.begin(cache_key, dialect.path, body)
        if earlier is not None:
            return earlier.again
        try:
            return self._idempotency.recording(cache_key, await self._answer(dialect, request, body, cache_key))
        except BaseException:
            self._idempotency.forget(cache_key)
            raise

    async def models(self, request: Request) -> ASGIApp:
        """`GET /v1/models`: the teacher's list, or the model that the student stands in for."""
        if self.upstream is not None:
            return self._relay(request, "models", b"")
        known = [] if self.gate is None else [self.gate.certificate.teacher or self.gate.student.model_id]
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "distill"} for name in known]
        return json_response({"object": "list", "data": models})

    async def other(self, request: Request) -> ASGIApp:
        """Every other path below `/v1`: the teacher's."""
        path = request.path_params["path"]
        body = await read_body(request)
        if self.upstream is None:
            raise RequestError(404, "no such path here, and no teacher is configured", code="unknown_path")
        if caller_of(request).tenant != self._settings.tenant and not path.startswith(STATELESS):
            raise RequestError(403, "what the teacher keeps is the operator's own", code="other_tenant")
        return self._relay(request, path, body)

    async def feedback(self, request: Request) -> ASGIApp:
        """`POST /v1/feedback`: what came of a decision, once."""
        told, tenant = parse_feedback(await read_body(request)), caller_of(request).tenant
        receipt = told.receipt or self._ids.receipt(tenant, told.request_id or "")
        try:
            await self.journal.durable()  # a client may complain of an answer before its events are in the log
            decision = await asyncio.to_thread(find_decision, self._store, tenant, receipt)
            if decision is None:
                raise RequestError(404, "no such decision", code="unknown_decision")
            event = told.event(receipt, subject=decision.metadata.subject, tenant_id=tenant, clock=self._clock)
            await asyncio.to_thread(self._store.append, [event])
        except EventError:
            raise RequestError(409, "this decision has its feedback already", code="feedback_exists") from None
        except LogError:
            raise log_down("the decision log cannot be used now", {}) from None
        self.metrics.wrote(event)
        return json_response({"receipt": receipt, "recorded": True}, 201)

    async def _answer(
        self, dialect: Dialect, request: Request, body: bytes, cache_key: IdempotencyKey | None
    ) -> ASGIApp:
        asked = self._asked(dialect, caller_of(request), headers_of(request), body)
        verdict = asked.refused or await self._decider.decide(asked.gate, asked.request)
        exchange = self._exchange(asked, verdict)
        self._note(exchange)
        if isinstance(verdict, Escalate):
            changed = None if asked.gate is None else self._schemas.event(exchange, asked.gate.certificate)
            if changed is not None:
                self.journal.once(changed)
            return self._teacher(request, exchange, asked.gate)
        answer = self._student(exchange, asked.headers)
        try:
            await self.journal.durable(answer.decision)
        except LogError:
            raise answer.unlogged() from None
        if cache_key is not None:  # before it is sent: a client that is gone by then asks again
            self._idempotency.keep(cache_key, 200, answer.headers, answer.body)
        return answer

    def recalled(self, dialect: Dialect, caller: Key, headers: QuickHeaders, body: memoryview) -> Exchange | None:
        """The exchange over a request, where the student's answer is known by heart; it leaves no trace yet.

        Args:
            dialect: In which shape it was asked.
            caller: Whose request it is.
            headers: Of the request.
            body: Of the request, whole.

        Raises:
            RequestError: As `decide`.
        """
        asked = self._asked(dialect, caller, headers, body)
        verdict = None if asked.refused else self._decider.at_once(asked.gate, asked.request)
        return self._exchange(asked, verdict) if isinstance(verdict, Send) else None

    def remembered(self, exchange: Exchange, headers: QuickHeaders) -> LocalAnswer:
        """The answer of an exchange that `recalled` found; its decision is yet to be written."""
        self._note(exchange)
        return self._student(exchange, headers)

    def _asked(self, dialect: Dialect, caller: Key, headers: QuickHeaders, body: bytes | memoryview) -> _Asked:
        """All that is known of a request before the gate is asked."""
        parsed = self._recent.parse(dialect, caller.tenant, body)
        started = time.perf_counter()
        named = headers.get("x-distill-session")
        session = session_of(parsed.messages, named) if named else parsed.session
        agent_id = _agent(caller, headers, parsed)
        forced = headers.get("x-distill-force", "").lower() == "teacher"
        refused = self._policy.before(agent_id=agent_id, tenant=caller.tenant, session=session, forced=forced)
        gate = self.gate if self.canary is None or not self.canary.takes(session) else self.canary.gate
        return _Asked(dialect, parsed, headers, caller.tenant, session, agent_id, started, refused, gate)

    def _exchange(self, asked: _Asked, verdict: Send | Escalate) -> Exchange:
        gate = asked.gate
        model_id = "" if gate is None else gate.student.model_id
        return Exchange(
            dialect=asked.dialect,
            request=asked.request,
            offer=read_offer(asked.request.tools),
            verdict=verdict,
            receipt=new_event_id(),
            session=asked.session,
            agent_id=asked.agent_id,
            tenant=asked.tenant,
            model_id=model_id,
            certificate_id="" if gate is None else gate.certificate_id,
            comparators=NO_COMPARATORS if gate is None else gate.comparators,
            audit_share=self._share(verdict, model_id, asked.agent_id),
            started=asked.started,
            clock=self._clock,
        )

    def _note(self, exchange: Exchange) -> None:
        self.metrics.decided(exchange)
        if self._policy.limits_dollars:
            self._budgets.note(exchange.receipt, *self._policy.budget(exchange.agent_id))

    def _share(self, verdict: Send | Escalate, model_id: str, agent_id: str) -> float:
        if isinstance(verdict, Escalate):
            return 0.0
        return self._shares.of(model_id, agent_id, action_of(verdict.proposal.calls))

    def _student(self, exchange: Exchange, headers: Mapping[str, str]) -> LocalAnswer:
        then = partial(self._audit, headers)
        return LocalAnswer(exchange, recurring_of(exchange), self._clock(), self.journal, then)

    def _teacher(self, request: Request, exchange: Exchange, gate: Gate | None) -> ASGIApp:
        try:
            if self.upstream is None:
                message = (
                    f"this request needs the teacher ({exchange.reason}), and none is configured: set upstream_url"
                )
                again = {"retry-after": "1"} if exchange.reason == Reason.OVERLOAD else {}
                raise RequestError(503, message, code="no_teacher", headers={**exchange.headers, **again})
            priced = self.upstream.prices.of(exchange.request.model) is not None
            self._budgets.take(*self._policy.budget(exchange.agent_id), priced=priced)
        except RequestError as error:
            self.journal.later(exchange.outcome("error", error.message))
            raise
        if self._policy.shadows(exchange.agent_id, exchange.tenant):
            self._shadow.watch(exchange, gate)
        return self._relay(request, exchange.dialect.path, exchange.request.body, exchange)

    def _audit(self, headers: Mapping[str, str], exchange: Exchange) -> None:
        if self._auditor is not None:
            self._auditor.consider(exchange, headers)

    def _relay(self, request: Request, path: str, body: bytes, exchange: Exchange | None = None) -> Relay:
        if self.upstream is None:
            raise RequestError(503, "no teacher is configured: set upstream_url", code="no_teacher")
        query = request.scope["query_string"].decode("latin-1")
        model = "" if exchange is None else exchange.request.model
        call = Call(request.method, path, headers_of(request), body, query, model, caller_of(request).tenant)
        return Relay(self.upstream, call, self.journal, exchange)


def _agent(caller: Key, headers: Mapping[str, str], request: ChatRequest) -> str:
    """The key's agent, else the one that the client names, else the workload that its system prompt tells of."""
    return caller.agent_id or headers.get("x-distill-agent", "")[:128] or _workload(request)


def _workload(request: ChatRequest) -> str:
    known: str | None = request.__dict__.get("workload")
    if known is None:
        known = request.__dict__["workload"] = workload_of(request.messages)
    return known
