"""Publishers' hooks of steps whose worker is gone: in a process of their own, whatever they do there."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.otlp_receiver import OtlpReceiver
from support.waiting import until

from tasker_actors.events.derive import Derived, StepFacts, lost_step_message
from tasker_actors.events.outgoing import bind_declarations
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.supervision.isolated_hooks import IsolatedHooks
from tasker_actors.telemetry.trace_context import correlated, new_trace
from tasker_actors.workflow.template import EventDeclaration

MODULE = """
import asyncio, ctypes, os, sys, threading
from opentelemetry import trace
from tasker_actors import BasePublisher
from tasker_actors.telemetry.logging import get_logger

class Made(BasePublisher):
    publisher_name = "made"
    def should_publish(self, context):
        print("what a hook prints is no answer")
        return not context.succeeded
    def transform_payload(self, context):
        return {"order": context.input_data["order"], "type": context.payload["error_type"], "pid": os.getpid()}
    def additional_metadata(self, context):
        return {"mode": context.delivery_mode.value}
    def before_publish(self, event_name, payload, metadata):
        return payload["order"] == 7 and metadata["step_name"] == "charge" and metadata["mode"] == "durable"

class Traced(BasePublisher):
    publisher_name = "traced"
    def transform_payload(self, context):
        with trace.get_tracer("users").start_as_current_span("made by a hook"):
            get_logger("users").info("said by a hook")
        return {}

class Silent(BasePublisher):
    publisher_name = "silent"
    def should_publish(self, context):
        return False

class Raises(BasePublisher):
    publisher_name = "raises"
    def transform_payload(self, context):
        raise RuntimeError("no thanks")

class Leaves(BasePublisher):
    publisher_name = "leaves"
    def transform_payload(self, context):
        sys.exit(3)

class NoJson(BasePublisher):
    publisher_name = "no_json"
    def transform_payload(self, context):
        return {"thing": object()}

class Async(BasePublisher):
    publisher_name = "async"
    async def should_publish(self, context):
        self.loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        return self
    async def transform_payload(self, context):
        return {"same_loop": self.loop is asyncio.get_running_loop()}
    async def before_publish(self, event_name, payload, metadata):
        return {1, 2}

class AwaitsForEver(BasePublisher):
    publisher_name = "awaits_for_ever"
    async def should_publish(self, context):
        await asyncio.get_running_loop().create_future()

class Exits(BasePublisher):
    publisher_name = "exits"
    def should_publish(self, context):
        os._exit(9)

class Crashes(BasePublisher):
    publisher_name = "crashes"
    def should_publish(self, context):
        ctypes.string_at(0)

class Hangs(BasePublisher):
    publisher_name = "hangs"
    def should_publish(self, context):
        threading.Event().wait()

class Holds(BasePublisher):
    publisher_name = "holds"
    def before_publish(self, event_name, payload, metadata):
        ctypes.PyDLL(None).sleep(3600)
"""

FACTS = StepFacts(
    task_uuid="task",
    step_uuid="step",
    step_name="charge",
    namespace="payments",
    correlation_id="correlation",
    parent_correlation_id=None,
    handler_name="payments.charge",
    attempt=3,
    max_attempts=3,
    duration_ms=0.0,
    input_data={"order": 7},
)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lost_publishers.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def lost(*publishers: str, module: str = "lost_publishers", timeout_ms: int = 20_000) -> Derived:
    class Stand(BasePublisher):
        """What the supervisor has of a publisher: it must not be called here."""

        def __init__(self, name: str) -> None:
            self._name = name

        @property
        def publisher_name(self) -> str:
            return self._name

        def should_publish(self, context: Any) -> bool:
            raise AssertionError("a hook was called in the supervisor")

    declared = [EventDeclaration(name=f"lost.{name}", publisher=name, condition="always") for name in publishers]
    declared.append(EventDeclaration(name="lost.plain", condition="always"))
    bound = bind_declarations(declared, {name: Stand(name) for name in publishers})
    hooks = IsolatedHooks([module], timeout_ms=timeout_ms, start_timeout_ms=60_000, export_ms=60_000)
    with hooks.declarations(bound) as declarations:
        return lost_step_message(FACTS, failed_at=datetime.now(UTC), declarations=declarations)


def names(derived: Derived) -> tuple[list[str], list[str]]:
    return [one.event_name for one in derived.events], [one.event_name for one in derived.refused]


def test_hooks_make_the_event_in_another_process(directory: Path):
    derived = lost("made", "silent")

    assert names(derived) == (["lost.made", "lost.plain"], [])
    assert derived.events[0].publisher_name == "made"
    message = orjson.loads(derived.events[0].message)
    assert message["payload"].pop("pid") != os.getpid()
    assert message["payload"] == {"order": 7, "type": "worker_lost"}
    assert message["metadata"]["custom"] == {"mode": "durable"}


def test_what_hooks_trace_and_log_is_exported_below_the_lost_attempt(directory: Path, monkeypatch: pytest.MonkeyPatch):
    attempt = new_trace(sampled=True)
    with OtlpReceiver() as receiver:
        for name, value in receiver.environment(OTEL_LOGS_ENABLED="true").items():
            monkeypatch.setenv(name, value)
        with correlated(attempt, "correlation"):
            assert names(lost("traced")) == (["lost.traced", "lost.plain"], [])
        until(lambda: bool(receiver.spans()) and "said by a hook" in {log.body for log in receiver.logs()}, 60)
        (span,) = receiver.spans()
        logs = {log.body: log for log in receiver.logs()}

    assert (span.name, span.trace_id, span.parent_id) == ("made by a hook", attempt.trace_id, attempt.span_id)
    assert "tasker.worker.slot" not in span.resource
    said = logs["said by a hook"]
    assert (said.span_id, said.attributes["correlation_id"]) == (span.span_id, "correlation")
    assert "Console-only logging initialized (FFI-safe mode)" in logs


def test_a_hook_that_raises_or_returns_nonsense_costs_its_own_event(directory: Path):
    derived = lost("raises", "leaves", "no_json", "made")

    assert names(derived) == (["lost.made", "lost.plain"], ["lost.raises", "lost.leaves", "lost.no_json"])
    reasons = [one.reason for one in derived.refused]
    for reason, text in zip(reasons, ("no thanks", "SystemExit", "cannot be stored"), strict=True):
        assert text in reason


def test_async_hooks_are_run_to_their_end_on_one_loop_and_a_verdict_need_not_be_json(directory: Path):
    derived = lost("async")

    assert names(derived) == (["lost.async", "lost.plain"], [])
    assert orjson.loads(derived.events[0].message)["payload"] == {"same_loop": True}


@pytest.mark.parametrize(
    ("publisher", "reason"),
    [
        ("exits", "exit code 9"),
        ("crashes", "exit code -11"),
        ("hangs", "did not return"),
        ("holds", "did not return"),
        ("awaits_for_ever", "did not return"),
    ],
)
def test_a_hook_that_hangs_or_ends_its_process_costs_the_events_of_that_step_only(
    directory: Path, publisher: str, reason: str
):
    derived = lost(publisher, "made", timeout_ms=1_000 if reason == "did not return" else 20_000)

    assert names(derived) == (["lost.plain"], [f"lost.{publisher}", "lost.made"])
    assert all(reason in one.reason for one in derived.refused)


def test_a_module_that_cannot_be_imported_there_costs_the_events_of_its_publishers(directory: Path):
    derived = lost("made", module="no_such_module")

    assert names(derived) == (["lost.plain"], ["lost.made"])


def test_nothing_is_started_where_no_publisher_is_the_users_own(directory: Path):
    assert names(lost(module="no_such_module")) == (["lost.plain"], [])
