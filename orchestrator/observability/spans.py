"""Writes spans by OpenTelemetry's SDK, after the GenAI conventions v0.1.0; imported only if traces are on.

The SDK's provider is not made the global one: libraries that have spans of their own, such as the SDKs of models and
of MCP, find none and write none. Attributes have no content of a client, unless it is asked for.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from orchestrator.llm.model_call import CallDetails
from orchestrator.llm.provider import ResponseFormat
from orchestrator.memory.claims import Claim
from orchestrator.models.execution_state import JUDGE_STEP, StepKind
from orchestrator.models.ids import step_id
from orchestrator.models.loop import part_of, runs_no_arm
from orchestrator.models.trace_context import (
    SpanRef,
    TraceContext,
    attempt_span_id,
    judgement_of,
    parse_traceparent,
)
from orchestrator.models.verdict import CriterionFinding, Verdict

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai/0.1.0"
_WORKFLOW = "invoke_workflow octollm"
_MAX_CONTENT_CHARACTERS = 32_768


class SpanWriter:
    """Writes the spans of this process. Its methods raise nothing for a collector that is away, and never wait for it.

    Each id that others link to follows from the ids of the task, the row and the attempt; the other ids are random.
    """

    def __init__(self, processor: SpanProcessor, *, resource: Resource, has_content: bool = False) -> None:
        self._ids = _ChosenIds()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("octollm", schema_url=SCHEMA_URL)
        self._current: ContextVar[Span | None] = ContextVar("octollm_span", default=None)
        self._has_content = has_content

    def close(self) -> None:
        """Send what waits and stop."""
        self._provider.shutdown()

    def workflow(
        self,
        task_id: str,
        context: Mapping[str, Any] | None,
        *,
        created_at: datetime,
        status: str,
        error_code: str | None = None,
    ) -> None:
        """Write the span of a task that has ended just now; call it once, after the commit."""
        trace = TraceContext.from_record(context)
        attributes: dict[str, Any] = {
            **_operation("invoke_workflow", "octollm"),
            "octollm.task.id": task_id,
            "octollm.task.status": status,
        }
        source = parse_traceparent(trace.retries)
        with self._ids.chosen(trace.workflow_of(task_id)):
            span = self._tracer.start_span(
                _WORKFLOW,
                _caller_of(trace),
                attributes=attributes,
                links=[_link(source, "retry")] if source else (),
                start_time=_nanoseconds(created_at),
            )
        if error_code is not None:
            _fail(span, error_code, is_failure=status == "failed")
        span.end()

    @contextmanager
    def attempt(self, claim: Claim) -> Iterator["AttemptSpan"]:
        """Write the block as the span of one attempt; the spans of its calls become its children."""
        name, attributes = _named(claim)
        own = attempt_span_id(claim.id, claim.attempt)
        trace = TraceContext.from_record(claim.trace_context)
        with self._ids.chosen(SpanRef(trace.trace_id_of(claim.task_id), own)):
            span = self._tracer.start_span(
                name, self._workflow_context(claim), attributes=attributes, links=_links(claim, trace)
            )
        with self._inside(span):
            yield AttemptSpan(span, has_content=self._has_content)

    @contextmanager
    def tool(self, name: str, *, kind: str) -> Iterator[None]:
        """Write the block as the span of one call of a tool."""
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": kind,
        }
        span = self._tracer.start_span(f"execute_tool {name}", self._parent(), attributes=attributes)
        with self._inside(span):
            yield

    def model_call(self, call: CallDetails, *, operation: str = "chat") -> None:
        """Write the span of a call to a model that has ended just now."""
        if not call.record.was_called:
            return
        ended_at = time.time_ns()
        span = self._tracer.start_span(
            f"{operation} {call.record.model}",
            self._parent(),
            SpanKind.CLIENT,
            attributes=_of_call(call, operation),
            start_time=ended_at - int(call.record.seconds * 1e9),
        )
        if self._has_content:
            span.set_attributes(_content_of(call))
        if call.record.outcome != "ok":
            _fail(span, call.record.outcome)
        span.end(ended_at)

    @contextmanager
    def _inside(self, span: Span) -> Iterator[None]:
        token = self._current.set(span)
        try:
            yield
        except BaseException as error:
            code = getattr(error, "code", None)
            _fail(span, code if isinstance(code, str) else type(error).__name__)
            raise
        finally:
            self._current.reset(token)
            span.end()

    def _parent(self) -> Context:
        current = self._current.get()
        return Context() if current is None else set_span_in_context(current, Context())

    def _workflow_context(self, claim: Claim) -> Context:
        """Return the context of the task's span, sampled as that will be."""
        trace = TraceContext.from_record(claim.trace_context)
        ref = trace.workflow_of(claim.task_id)
        sampled = self._provider.sampler.should_sample(_caller_of(trace), int(ref.trace_id, 16), _WORKFLOW)
        return _context(ref._replace(is_sampled=sampled.decision is Decision.RECORD_AND_SAMPLE))


class AttemptSpan:
    """The span of an attempt that runs."""

    def __init__(self, span: Span, *, has_content: bool) -> None:
        self._span = span
        self._has_content = has_content

    def fail(self, code: str) -> None:
        """Record the code of the error that the attempt ends with."""
        _fail(self._span, code)

    def planned(self, *, mode: str, steps: int) -> None:
        """Record what was planned, and by whom: a model, a recipe or the client."""
        self._span.set_attributes({"octollm.plan.mode": mode, "octollm.plan.steps": steps})

    def judged(self, verdict: Verdict) -> None:
        """Record the verdict, with an event for each criterion."""
        self._span.set_attribute("octollm.verdict", verdict.decision.value)
        for number, finding in enumerate(verdict.findings, start=1):
            self._span.add_event("gen_ai.evaluation.result", self._evaluation(number, finding))

    def _evaluation(self, number: int, finding: CriterionFinding) -> dict[str, Any]:
        # the text of a criterion is the client's
        content = {
            "gen_ai.evaluation.name": _cut(finding.criterion),
            "gen_ai.evaluation.explanation": _cut(finding.explanation),
        }
        return {
            "gen_ai.evaluation.name": f"criterion {number}",
            "gen_ai.evaluation.score.label": _LABELS[finding.met],
            **({} if finding.met is None else {"gen_ai.evaluation.score.value": float(finding.met)}),
            "octollm.checked_by": finding.checked_by.value,
            "octollm.required": finding.required,
            **({"octollm.step": finding.step} if finding.step else {}),
            **(content if self._has_content else {}),
        }


_LABELS: Final[Mapping[bool | None, str]] = {True: "pass", False: "fail", None: "not_checked"}


class _ChosenIds(RandomIdGenerator):
    """Gives the span that a thread starts in the block `chosen` these ids, and random ones to others."""

    def __init__(self) -> None:
        self._chosen: ContextVar[SpanRef | None] = ContextVar("octollm_ids", default=None)

    @contextmanager
    def chosen(self, ref: SpanRef) -> Iterator[None]:
        token = self._chosen.set(ref)
        try:
            yield
        finally:
            self._chosen.reset(token)

    def generate_trace_id(self) -> int:
        ref = self._chosen.get()
        return super().generate_trace_id() if ref is None else int(ref.trace_id, 16)

    def generate_span_id(self) -> int:
        ref = self._chosen.get()
        return super().generate_span_id() if ref is None else int(ref.span_id, 16)


def _named(claim: Claim) -> tuple[str, dict[str, Any]]:
    """Return the name and the attributes of an attempt's span."""
    known: dict[str, Any] = {
        "octollm.task.id": claim.task_id,
        "octollm.step": claim.name,
        "octollm.step.id": claim.id,
        "octollm.round": claim.round,
        "octollm.attempt": claim.attempt,
        "octollm.waited_seconds": round(claim.waited_seconds, 3),
    }
    if claim.kind == StepKind.PLAN:
        return "plan", {**_operation("plan", claim.arm), **known}
    part = part_of(claim.spec)
    if runs_no_arm(claim.spec) and part is not None:
        return part.value, known
    action = {"octollm.action": claim.spec["action"]} if "action" in claim.spec else {}
    return f"invoke_agent {claim.arm}", {**_operation("invoke_agent", claim.arm), **known, **action}


def _links(claim: Claim, trace: TraceContext) -> list[Link]:
    """Return links to what the attempt repeats: the one before it, or the judgement that rejected the round before."""
    trace_id = trace.trace_id_of(claim.task_id)
    links = []
    if claim.attempt > 1:
        links.append(_link(SpanRef(trace_id, attempt_span_id(claim.id, claim.attempt - 1)), "attempt"))
    if (judged := judgement_of(claim.spec)) is not None:
        judge = step_id(claim.task_id, round_number=judged.round, name=JUDGE_STEP)
        cause = "replan" if claim.kind == StepKind.PLAN else "repair"
        links.append(_link(SpanRef(trace_id, attempt_span_id(judge, judged.attempt)), cause))
    return links


def _operation(name: str, agent: str) -> dict[str, Any]:
    return {"gen_ai.operation.name": name, "gen_ai.agent.name": agent}


def _of_call(call: CallDetails, operation: str) -> dict[str, Any]:
    record, request, response, usage = call.record, call.request, call.response, call.record.usage
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": record.provider,
        "gen_ai.request.model": record.model,
        "gen_ai.request.max_tokens": request.max_output_tokens or None,
        "gen_ai.response.model": (response.model or None) if response else None,
        "gen_ai.response.finish_reasons": [response.finish.value] if response else None,
        "gen_ai.usage.input_tokens": usage.input_tokens if usage else None,
        "gen_ai.usage.output_tokens": usage.output_tokens if usage else None,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens if usage else None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens if usage else None,
        "octollm.cost.usd": None if record.dollars is None else float(record.dollars),
        "octollm.first_text_seconds": record.first_text_seconds,
        **_server(call.address),
    }
    if operation == "chat":
        is_text = request.response_format is ResponseFormat.TEXT
        attributes["gen_ai.output.type"] = "text" if is_text else "json"
    return {name: value for name, value in attributes.items() if value is not None}


def _server(address: str) -> dict[str, Any]:
    """Return the server's name and port; the rest of its address may be secret."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return {}
    return {"server.address": parts.hostname, "server.port": port}


def _content_of(call: CallDetails) -> dict[str, str]:
    said = [
        {"role": message.role.value, "parts": [{"type": "text", "content": message.text}]}
        for message in call.request.messages
    ]
    content = {"gen_ai.input.messages": _cut(json.dumps(said, ensure_ascii=False))}
    if call.response is not None and call.response.text:
        part = {"type": "text", "content": call.response.text}
        answer = [{"role": "assistant", "parts": [part], "finish_reason": call.response.finish.value}]
        content["gen_ai.output.messages"] = _cut(json.dumps(answer, ensure_ascii=False))
    return content


def _cut(text: str) -> str:
    return text[:_MAX_CONTENT_CHARACTERS]


def _fail(span: Span, code: str, *, is_failure: bool = True) -> None:
    """Record the code of an error; its message may have a client's content."""
    span.set_attribute("error.type", code)
    if is_failure:
        span.set_status(Status(StatusCode.ERROR))


def _link(ref: SpanRef, kind: str) -> Link:
    return Link(_span_context(ref), {"octollm.link": kind})


def _caller_of(trace: TraceContext) -> Context:
    parent = parse_traceparent(trace.parent)
    return _context(parent) if parent else Context()


def _context(ref: SpanRef) -> Context:
    return set_span_in_context(NonRecordingSpan(_span_context(ref)), Context())


def _span_context(ref: SpanRef) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if ref.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(int(ref.trace_id, 16), int(ref.span_id, 16), is_remote=True, trace_flags=flags)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e6) * 1000
