"""Templates, and steps as a worker holds them, without a database; and an actor that keeps what it is told."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from tasker_actors.actors import Actor
from tasker_actors.delivery.publication import derive_publication
from tasker_actors.delivery.routing import event_documents, return_document
from tasker_actors.events.facts import CodeEvent
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.identifiers import new_uuid7
from tasker_actors.messages import CommitItem, PendingPublication, PublishEvent
from tasker_actors.steps.bound import BoundHandler
from tasker_actors.steps.conclude import HandledStep, SizeLimits, conclude
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.lease import LeasedStep, TaskFacts
from tasker_actors.steps.plans import StepPlans
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.steps.task_starter import StartedTask
from tasker_actors.telemetry.span_ids import task_span_id
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow.outcome import StepFailure, StepOutcome, StepSuccess
from tasker_actors.workflow.template import HandlerSpec, TaskTemplate

SHOP = "shop"
MIB = 1024 * 1024

DONE: StepOutcome = StepSuccess({"ok": True})
AGAIN: StepOutcome = StepFailure("not now", "handler_error")
NEVER: StepOutcome = StepFailure("no", "permanent_error", retryable=False)

_tokens = itertools.count(1)


def template(
    graph: Mapping[str, Sequence[str]],
    *,
    name: str = "work",
    namespace: str = SHOP,
    steps: Mapping[str, Mapping[str, Any]] | None = None,
    lifecycle: Mapping[str, Any] | None = None,
    identity_strategy: str | None = None,
    shared_limits: Sequence[Mapping[str, Any]] = (),
    **every_step: Any,
) -> TaskTemplate:
    """Make a template of a graph {step: dependencies}; `every_step` and `steps[name]` are further keys of steps.

    `shared_limits` are the template's own.
    """
    changed = steps or {}
    return TaskTemplate.model_validate(
        {
            "name": name,
            "namespace_name": namespace,
            "version": "1.0.0",
            "lifecycle": lifecycle,
            "identity_strategy": identity_strategy,
            "limits": list(shared_limits),
            "steps": [
                {
                    "name": step,
                    "handler": {"callable": f"{namespace}.{step}"},
                    "dependencies": list(needs),
                    **every_step,
                    **changed.get(step, {}),
                }
                for step, needs in graph.items()
            ],
        }
    )


def event(name: str = "step.done", mode: str = "durable", condition: str = "always", **keys: Any) -> dict[str, Any]:
    """Declare an event."""
    return {"name": name, "delivery_mode": mode, "condition": condition, **keys}


def plans_of(publishers: Mapping[str, BasePublisher] | None = None) -> StepPlans:
    """Make a worker's plans; nobody in them has a handler."""
    return StepPlans(HandlerRegistry({}, publishers or {}, []), handler_timeout_ms=30_000)


class EveryHandlerBut(HandlerRegistry):
    """Has a handler of every name but these, which nobody calls."""

    def __init__(self, lacks: Collection[str], publishers: Mapping[str, BasePublisher]) -> None:
        super().__init__({}, publishers, [])
        self._lacks = lacks

    def resolve(self, spec: HandlerSpec) -> BoundHandler:
        """Find it."""
        if spec.callable in self._lacks:
            return super().resolve(spec)
        return BoundHandler(spec.callable, "1.0.0", "tests", is_async=False, invoke=lambda _context: None)


def leased(
    *,
    handler: Callable[[Any], Any] | None = None,
    is_async: bool = False,
    publishers: Mapping[str, BasePublisher] | None = None,
    context: Mapping[str, Any] | None = None,
    timeout_ms: int = 30_000,
    task: TaskFacts | None = None,
    row: Mapping[str, Any] | None = None,
    **step_keys: Any,
) -> LeasedStep:
    """Make one leased step of a task of its own: `row` changes what its claim said, `step_keys` its template."""
    plans = plans_of(publishers)
    plans.add(1, template({"only": []}, **step_keys))
    facts = task or TaskFacts(new_uuid7(), 1, orjson.dumps(context or {}), new_uuid7(), None, new_trace())
    claimed = {
        "token": next(_tokens),
        "position": 1,
        "step_uuid": new_uuid7(),
        "attempt": 1,
        "suspect": False,
        "waited_ms": 0.0,
        "dependency_results": None,
        "dependency_bytes": 0,
        **(row or {}),
    }
    step = plans.lease(claimed, facts)
    plan = replace(step.plan, timeout_ms=timeout_ms)
    if handler is not None:
        plan = replace(plan, handler=BoundHandler("shop.only", "1.0.0", "tests", is_async, handler), unavailable=None)
    return replace(step, plan=plan)


def sampled_task(parent_span_id: str | None = None) -> TaskFacts:
    """Make the facts of a task whose trace is sampled, in a caller's span or in none."""
    task_uuid = new_uuid7()
    trace = new_trace(sampled=True).with_span(task_span_id(task_uuid))
    return TaskFacts(task_uuid, 1, b"{}", new_uuid7(), None, trace, parent_span_id)


def finish(
    step: LeasedStep,
    outcome: StepOutcome = DONE,
    *,
    code_events: Sequence[CodeEvent] = (),
    started: Sequence[StartedTask] = (),
    random: float = 0.5,
    max_payload_bytes: int = MIB,
    max_result_bytes: int = 64 * MIB,
) -> FinishedStep:
    """Conclude an attempt as its executor would after the handler gave this outcome."""
    context = orjson.loads(step.task.context)
    handled = HandledStep(outcome, tuple(code_events), 1.5, step.leased_at, context, tuple(started))
    return conclude(
        step,
        handled,
        now=datetime.now(UTC),
        ended_at=step.leased_at,
        random=random,
        limits=SizeLimits(max_result_bytes, max_payload_bytes),
    )


def returned(step: LeasedStep) -> CommitItem:
    """Make the entry that gives a step back before it began."""
    return CommitItem(return_document(step), 0, step.token, step.task.task_uuid, None)


def publication(payload: Any = None, *, namespace: str = SHOP, mode: str = "durable", reply: Any = None) -> CommitItem:
    """Make the entry of an event from outside a step."""
    text = orjson.dumps(payload).decode()
    message = PublishEvent(new_uuid7(), "ops.noted", namespace, text, mode, new_uuid7(), None, "", None)
    derived = derive_publication(message, fired_at=datetime.now(UTC), max_payload_bytes=MIB)
    trace = new_trace()
    document = event_documents(derived, trace, message.correlation_id)
    pending = PendingPublication(derived, trace, message.event_id, message.correlation_id, reply, 0.0)
    return CommitItem(document | {"namespace": namespace}, len(text), 0, None, None, pending)


class Inbox(Actor):
    """Keeps what it is told in a queue that a test reads."""

    def __init__(self, heard: queue.SimpleQueue[Any]) -> None:
        self._heard = heard

    def receive(self, message: Any) -> None:
        """Keep a message."""
        self._heard.put(message)
