"""The process in which publishers' hooks run for steps whose worker is gone.

Started by `isolated_hooks` as `python -m tasker_actors.supervision.hook_process SUPERVISOR_PID FD EXPORT_S MODULE…`. It
answers one line of JSON with another; whatever a hook does to it costs the events of that settlement their publication.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from functools import partial
from io import BufferedRWPair
from typing import Any

import orjson

from tasker_actors.events.async_hooks import AwaitHook, within
from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.discovery import publishers_in
from tasker_actors.events.facts import StepFacts
from tasker_actors.events.hooks import settled
from tasker_actors.events.publisher import BasePublisher, PublishContext
from tasker_actors.events.text import described
from tasker_actors.steps.modules import import_modules
from tasker_actors.supervision.orphan import die_with_parent
from tasker_actors.telemetry import phases
from tasker_actors.telemetry.logging import init_console_only
from tasker_actors.telemetry.trace_context import Correlation, TraceContext, WorkingOn, parse_traceparent
from tasker_actors.workflow.outcome import StepFailure


class HookCalls:
    """Calls the hooks of one event after the other: each event begins with `should_publish`."""

    def __init__(self, publishers: Mapping[str, BasePublisher], await_hook: AwaitHook) -> None:
        self._publishers = publishers
        self._await_hook = await_hook
        self._publisher = BasePublisher()
        self._context: PublishContext | None = None
        self._source = Correlation(None, None)

    def answer(self, request: Mapping[str, Any]) -> bytes:
        """Call the hook that is asked for; returns JSON with what it `returned`, or with what was `raised`."""
        try:
            returned = self._call(request)
            plain = dict(returned) if isinstance(returned, Mapping) else returned
            return orjson.dumps({"returned": orjson.Fragment(encode_payload(plain, max_bytes=sys.maxsize))})
        except PayloadError as error:
            return orjson.dumps({"raised": f"it returned what cannot be stored: {error}"})
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's hook; it costs its event
            return orjson.dumps({"raised": described(error)})

    def _call(self, request: Mapping[str, Any]) -> Any:
        hook = request["hook"]
        if hook == "should_publish":
            self._publisher = self._publishers[request["publisher"]]
            self._context = _context(request["context"])
            self._source = _source(request["context"], self._context.facts)
        with WorkingOn(self._source), _span(self._source.trace):
            if hook == "before_publish":
                arguments = request["event_name"], request["payload"], request["metadata"]
                return bool(settled(self._publisher.before_publish(*arguments), self._await_hook))
            returned = settled(getattr(self._publisher, hook)(self._context), self._await_hook)
            # A verdict is what it is worth in a condition: it need not be JSON.
            return bool(returned) if hook == "should_publish" else returned


def _context(document: Mapping[str, Any]) -> PublishContext:
    return PublishContext(
        document["event_name"],
        DeliveryMode(document["delivery_mode"]),
        StepFailure(**document["outcome"]),
        document["payload"],
        StepFacts(**document["facts"]),
    )


def _source(document: Mapping[str, Any], facts: StepFacts) -> Correlation:
    """What the hooks of an event work under: the lost attempt's span."""
    traceparent = document.get("traceparent")
    trace = None if traceparent is None else parse_traceparent(traceparent, document["tracestate"])
    return Correlation(trace, facts.correlation_id)


def _span(trace: TraceContext | None) -> AbstractContextManager[None]:
    """Let spans that a hook makes nest under this one, where there is an export."""
    if trace is None or phases.exporter() is None:
        return nullcontext()
    from tasker_actors.telemetry.span_scope import OpenTelemetrySpan  # noqa: PLC0415 - loaded only where tracing is on

    return OpenTelemetrySpan(lambda: trace)


def _await_hook(loop: asyncio.Runner, hook: Awaitable[Any]) -> Any:
    """Run an async hook, without a limit: whoever waits for its answer ends this process."""
    # The loop's own context would be that of the first event for ever.
    return within(hook, lambda coroutine: loop.run(coroutine, context=copy_context()), None, TimeoutError)


def serve(lines: BufferedRWPair, calls: HookCalls) -> None:
    """Answer requests until the other side closes."""
    for line in lines:
        lines.write(calls.answer(orjson.loads(line)) + b"\n")
        lines.flush()


def main(arguments: Sequence[str]) -> int:
    """Start the process; see the module's first lines."""
    supervisor_pid, descriptor, export_s, *modules = arguments
    die_with_parent(int(supervisor_pid))
    init_console_only()
    publishers = publishers_in(import_modules(modules))
    phases.init_tracing()
    with (
        socket.socket(fileno=int(descriptor)) as link,
        link.makefile("rwb") as lines,
        asyncio.Runner() as loop,
    ):
        lines.write(b"{}\n")  # ready
        lines.flush()
        serve(lines, HookCalls(publishers, partial(_await_hook, loop)))
    phases.shut_down(float(export_s) * 1000)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
