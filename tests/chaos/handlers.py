"""Handlers, publishers and subscribers of the chaos runs; copied into their project, and imported by its workers.

What begins, what ends and what is delivered goes into a journal, one file a process.
"""

import ctypes
import mmap
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tasker_actors import (
    BasePublisher,
    DomainEvent,
    PermanentError,
    PublishContext,
    RetryableError,
    StepContext,
    StepHandlerResult,
    checkpoint_yield,
    step_handler,
    subscriber,
)

HOLD_S = 30
"""Longer than the hang limit: a handler that holds the interpreter for so long must cost its worker."""

MOST_GROWTH = 64 * 2**20
TOUCHED = b"\1" * (2**20 // 4096)
"""A page is there once it is written to."""

MODULUS = 1_000_003
SLICES = 3
PAUSE = threading.Event()
KEPT: list[bytearray] = []
MEMORY = threading.Lock()
"""Who takes much memory does so alone: one that fills it would fail others in its process, which no script foresees."""

JOURNAL = os.open(f"journal-{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(*words: object) -> None:
    """One line, one system call: a killed process leaves no half of one."""
    os.write(JOURNAL, (" ".join(map(str, (*words, time.time()))) + "\n").encode())


def grow() -> None:
    """Take memory until there is none, in a process that may have little more than it has.

    It is mapped, not allocated: so all of it is given back here, and what is still there later is not ours.
    """
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_GROWTH, hard))
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(mmap.mmap(-1, 2**20))
                taken[-1][::4096] = TOUCHED
        bytearray(MOST_GROWTH)  # raises MemoryError, as it does for whoever wants some now
    finally:
        for each in taken:
            each.close()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def behave(behaviour: str) -> None:
    match behaviour:
        case "retryable":
            raise RetryableError("for now")
        case "permanent":
            raise PermanentError("for good")
        case "exit":
            sys.exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hold":
            ctypes.PyDLL(None).sleep(HOLD_S)  # unlike CDLL it keeps the interpreter's lock
        case "overrun":
            while True:
                PAUSE.wait(0.05)
        case "grow":
            with MEMORY:
                grow()
        case "keep":
            with MEMORY:
                KEPT.append(bytearray(200 * 2**20))
                KEPT[-1][::4096] = b"\1" * (len(KEPT[-1]) // 4096)  # a page is there once it is written to
        case "long":
            PAUSE.wait(6.0)


@step_handler("act")
def act(context: StepContext) -> dict[str, Any]:
    """Do what the script says for this attempt, and add up what the steps above came to."""
    return perform(context)


@step_handler("decide")
def decide(context: StepContext) -> dict[str, Any]:
    """Choose branches by the number: both, the first one or the other one."""
    chosen = (["odd", "even"], ["odd"], ["even"])[context.get_input("number") % 3]
    return {**perform(context), "decision_point_outcome": {"type": "create_steps", "step_names": chosen}}


@step_handler("divide")
def divide(context: StepContext) -> dict[str, Any]:
    """Make one to four instances, by the number."""
    count = context.get_input("number") % 4 + 1
    ranges = [
        {"batch_id": f"{n + 1:03d}", "start_cursor": n * SLICES, "end_cursor": (n + 1) * SLICES} for n in range(count)
    ]
    outcome = {
        "type": "create_batches",
        "worker_template_name": "work",
        "worker_count": count,
        "cursor_configs": ranges,
        "total_items": count * SLICES,
    }
    return {**perform(context), "batch_processing_outcome": outcome}


@step_handler("work")
def work(context: StepContext) -> StepHandlerResult | dict[str, Any]:
    """Add up the numbers of a range, one in each slice of work; a slice that is lost or done twice shows in the sum."""
    cursor = context.step_inputs["cursor"]
    at, total = cursor["start_cursor"], 0
    if context.checkpoint is not None:
        at, total = context.checkpoint["cursor"], context.checkpoint["accumulated_results"]["total"]
    if at < cursor["end_cursor"]:
        PAUSE.wait(context.get_input("pause_s"))
        return checkpoint_yield(at + 1, at + 1 - cursor["start_cursor"], {"total": total + at})
    return perform(context, lambda: total)


@step_handler("call")
def call(context: StepContext) -> StepHandlerResult | dict[str, Any]:
    """Let another task do it; that its key is never taken says that it is started once."""
    if not context.child_tasks:
        key = f"child-of-{context.task_uuid}"
        try:
            return context.start_and_wait("chaos/called", context.input_data, idempotency_key=key)
        except Exception as failure:  # noqa: BLE001 - the database is away, or memory ends: its events are due all the same
            return perform(context, raising(failure))
    (called,) = context.child_tasks

    def answer() -> int:
        called.raise_for_failure()
        value: int = called.results["last"]["value"]
        return value

    return perform(context, answer)


def raising(failure: Exception) -> Callable[[], NoReturn]:
    """What more a step does that has failed already."""

    def fail() -> NoReturn:
        raise failure

    return fail


def perform(context: StepContext, more: Callable[[], int] = lambda: 0) -> dict[str, Any]:
    """Publish by code whatever comes of it, then do what the script says; `more` is added, and may raise."""
    script = context.get_input("scripts").get(context.step_name, ["ok"])
    note("begin", context.step_uuid, context.retry_count + 1)
    try:
        PAUSE.wait(context.get_input("pause_s"))
        if context.get_input("code_events"):
            context.publish("code.success", {"by": "code"}, delivery="durable")
            context.publish("code.failure", {"by": "code"}, delivery="durable", when="failure")
            context.publish("code.always", {"by": "code"}, delivery="fast", when="always")
        behave(script[min(context.retry_count, len(script) - 1)])
        total = more() + sum(one["value"] for one in context.dependency_results.values())
    finally:
        note("end", context.step_uuid, context.retry_count + 1)
    value = (context.get_input("number") + total + 1) % MODULUS
    return {"value": value, "attempt": context.retry_count + 1}


class Raising(BasePublisher):
    def transform_payload(self, context: PublishContext) -> NoReturn:
        raise RuntimeError("no thanks")


class Quiet(BasePublisher):
    def should_publish(self, context: PublishContext) -> bool:
        return False


class Slow(BasePublisher):
    def transform_payload(self, context: PublishContext) -> Any:
        PAUSE.wait(0.02)
        return context.payload


class Hanging(BasePublisher):
    def transform_payload(self, context: PublishContext) -> Any:
        return PAUSE.wait(3600)


@subscriber("#")
def journal(event: DomainEvent) -> None:
    note("event", event.event_id, event.event_name, event.metadata["step_uuid"] or "-")


@subscriber("chain.#")
def stalled(event: DomainEvent) -> None:
    """Take longer than any time limit while the file is there."""
    while Path("stalled").exists():
        PAUSE.wait(0.1)
