"""Step handlers in shared libraries, as the supervisor checks them and as a worker calls them (SPEC 6)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import orjson

from tasker_actors.errors import HandlerNotFoundError
from tasker_actors.events.timestamp import timestamp
from tasker_actors.native.bridge import LoadedHandler, NativeBridge
from tasker_actors.native.files import locate
from tasker_actors.native.reference import NativeReference
from tasker_actors.steps.bound import BoundHandler
from tasker_actors.steps.native_result import step_result
from tasker_actors.telemetry.span_ids import handler_call_id
from tasker_actors.telemetry.trace_context import CURRENT

if TYPE_CHECKING:
    from tasker_actors.steps.context import StepContext
    from tasker_actors.steps.result import StepHandlerResult

_VERSION = "1.0.0"
"""Native handlers have no version of their own; a Python handler that names none has this one."""


class NativeHandlers(Protocol):
    """Finds handlers in shared libraries."""

    def bind(self, reference: NativeReference) -> BoundHandler:
        """Return the handler; raises a StartupError where it cannot be used, saying why."""


class HandlerFiles:
    """Native handlers for a process that loads none: it is checked that the file is there and a shared object.

    The supervisor and `template validate` load no native code: a crash in it, or a constructor that means harm, would
    take everything down. Whether the function exists is found by the worker, at its start.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def bind(self, reference: NativeReference) -> BoundHandler:
        """Check the file; raises NativeLibraryError. What is returned cannot be called."""

        def refuse(_context: StepContext) -> NoReturn:
            msg = f"handler {str(reference)!r}: this process loads no native code"
            raise HandlerNotFoundError(msg)

        return _bound(reference, locate(self._directory, reference.path), refuse)


class LoadedHandlers:
    """Native handlers that this process loaded before phase 2 (SPEC 4.1); nothing is loaded later."""

    def __init__(self, bridge: NativeBridge) -> None:
        self._bridge = bridge

    def bind(self, reference: NativeReference) -> BoundHandler:
        """Return a loaded handler; HandlerNotFoundError for one that was not asked for at this worker's start."""
        loaded = self._bridge.handlers.get(reference)
        if loaded is None:
            msg = (
                f"handler {str(reference)!r} was not loaded when this worker started: "
                "no template of its supervisor names it"
            )
            raise HandlerNotFoundError(msg)
        return _bound(reference, loaded.file, _calling(loaded))


def _calling(loaded: LoadedHandler) -> Callable[[StepContext], StepHandlerResult]:
    def invoke(context: StepContext) -> StepHandlerResult:
        return step_result(loaded.call(encode_context(context)))

    return invoke


def encode_context(context: StepContext) -> bytes:
    """Write what a native handler is told of its step, as `tasker_native.h` lists it."""
    current = CURRENT.get()
    attempt = None if current is None else current.trace
    trace = None if attempt is None else attempt.with_span(handler_call_id(attempt.span_id))
    return orjson.dumps(
        {
            "task_uuid": context.task_uuid,
            "step_uuid": context.step_uuid,
            "step_name": context.step_name,
            "namespace": context.namespace,
            "correlation_id": context.correlation_id,
            "parent_correlation_id": context.parent_correlation_id,
            "handler_name": context.handler_name,
            "input_data": context.input_data,
            "dependency_results": context.dependency_results,
            "step_config": context.step_config,
            "step_inputs": context.step_inputs,
            "retry_count": context.retry_count,
            "max_retries": context.max_retries,
            "deadline": timestamp(context.deadline),
            "remaining_ms": context.remaining_ms(),
            "traceparent": None if trace is None else trace.traceparent,
        }
    )


def _bound(reference: NativeReference, file: Path, invoke: Callable[[StepContext], Any]) -> BoundHandler:
    return BoundHandler(str(reference), _VERSION, f"{file}#{reference.symbol}", is_async=False, invoke=invoke)
