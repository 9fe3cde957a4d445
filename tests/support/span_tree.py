"""The tree of spans that a task's trace is (SPEC 4.2), and what holds in every one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from support.otlp_receiver import ReceivedSpan

ERROR = 2
PRODUCER = 4

PARENTS = {
    "step_execution": "task_execution",
    "result_submission": "task_execution",
    "handler_call": "step_execution",
    "publish_domain_event": "step_execution",
    "route_event": "publish_domain_event",
    "record_metrics": "publish_domain_event",
    "publish_durable": "route_event",
    "publish_fast": "route_event",
}
"""The tree of SPEC 4.2."""

ATTRIBUTES = {
    "task_execution": {"task.name", "task.status"},
    "step_execution": {"attempt", "worker.slot"},
    "handler_call": {"handler"},
    "publish_domain_event": {"event_name", "delivery_mode", "event_id"},
    "route_event": {"delivery_mode"},
    "publish_durable": {
        "queue_name", "message_size", "messaging.system", "messaging.destination.name", "messaging.operation.name",
        "messaging.operation.type", "messaging.message.id", "messaging.message.body.size",
    },
    "publish_fast": {"subscriber_count"},
    "record_metrics": set[str](),
    "result_submission": {"step.state"},
}  # fmt: skip
"""What each kind of span says beside the ids of its task and step; a route to a queue names it too."""

OF_TASK = ("task_uuid", "namespace", "correlation_id")
OF_STEP = ("step_uuid", "step_name")
ROUNDING_NS = 1_000_000  # a task's beginning is known to the millisecond


def named(spans: Sequence[ReceivedSpan], name: str) -> ReceivedSpan:
    """Return the only span of a name."""
    (span,) = [span for span in spans if span.name == name]
    return span


def parent_of(spans: Sequence[ReceivedSpan], span: ReceivedSpan) -> str:
    """Return the name of a span's parent."""
    (parent,) = [other.name for other in spans if other.span_id == span.parent_id]
    return parent


def check_tree(trace: Sequence[ReceivedSpan]) -> None:
    """One root, every parent there, no id twice, children of the right kind within their parents' time, and a result
    of each call.
    """
    by_id = {span.span_id: span for span in trace}
    assert len(by_id) == len(trace)
    assert [span.name for span in trace if span.parent_id not in by_id] == ["task_execution"]
    for span in trace:
        assert span.start_ns <= span.end_ns
        if span.name in PARENTS:
            check_child(span, by_id[span.parent_id])
    called, submitted = (
        Counter(ids(span, OF_STEP) for span in trace if span.name == name)
        for name in ("handler_call", "result_submission")
    )
    assert called == submitted


def check_child(span: ReceivedSpan, parent: ReceivedSpan) -> None:
    """A span begins in its parent's time and speaks of the same task; below a step it ends in it and names the step."""
    assert parent.name == PARENTS[span.name]
    assert parent.start_ns <= span.start_ns + ROUNDING_NS
    assert ids(span, OF_TASK) == ids(parent, OF_TASK)
    if parent.name != "task_execution":
        assert span.end_ns <= parent.end_ns + ROUNDING_NS
        assert ids(span, OF_STEP) == ids(parent, OF_STEP)


def check_attributes(span: ReceivedSpan, queue: str) -> None:
    """A span says what its kind says; `queue` is where durable events of its namespace go."""
    of_step = OF_STEP if span.name != "task_execution" else ()
    assert span.attributes.keys() >= {*ATTRIBUTES[span.name], *OF_TASK, *of_step}
    if span.name == "route_event":
        assert span.attributes.get("target_queue") == (None if span.attributes["delivery_mode"] == "fast" else queue)
    if span.name == "publish_durable":
        assert {span.attributes[f"messaging.operation.{key}"] for key in ("name", "type")} == {"send"}


def ids(span: ReceivedSpan, keys: Sequence[str]) -> tuple[str, ...]:
    """Return these attributes' values."""
    return tuple(span.attributes[key] for key in keys)
