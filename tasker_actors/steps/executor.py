"""StepExecutor: runs one handler at a time, whatever the handler does."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Awaitable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import orjson

from tasker_actors.actors import Actor, LocalAddress
from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.events.async_hooks import AwaitHook, in_own_loop, within
from tasker_actors.events.text import described
from tasker_actors.messages import ExecuteSteps, ExecutorFree, StepFinished
from tasker_actors.steps.attempt import call_handler, context_of
from tasker_actors.steps.conclude import HandledStep, SizeLimits, conclude, timed_out, without_publishers
from tasker_actors.steps.failures import ErrorType, StepTimeoutError
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.handler_loop import HandlerLoop
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.ledger import Ledger, LedgerItem, Stage
from tasker_actors.steps.step_logger import StepLogger
from tasker_actors.steps.task_starter import TaskStarter
from tasker_actors.telemetry.trace_context import CURRENT, SpanScope
from tasker_actors.workflow.outcome import StepFailure, StepOutcome


def _deadline_ns(timeout_s: float) -> int:
    return time.monotonic_ns() + int(timeout_s * 1e9)


class Cells(Protocol):
    """One cell per executor."""

    def __setitem__(self, executor: int, value: int) -> None: ...


class ExecutorCells(Protocol):
    """Cells in the slot's shared memory, for the supervisor: what runs, and until when (`time.monotonic_ns`) it may."""

    @property
    def tokens(self) -> Cells:
        """The lease that each executor runs, 0 for none."""
        ...

    @property
    def deadlines(self) -> Cells:
        """When the time limit of what each executor runs ends; means nothing while it runs nothing."""
        ...


class StepExecutor(Actor):
    """Executes one step after the other; a handler's failure, exit or hang is the attempt's, never this actor's.

    The token of the running step is in shared memory from before the handler begins until its events are made, so a
    process that dies in between is charged to this step. Beside it is the time limit of what runs: until then a handler
    may hold the interpreter. Sync handlers and hooks run in this actor's thread; async ones on the worker's one event
    loop while this actor waits.
    """

    def __init__(
        self,
        index: int,
        *,
        ledger: Ledger,
        ready: deque[LeasedStep],
        source: LocalAddress,
        router: LocalAddress,
        cells: ExecutorCells,
        guard: CallGuard[LedgerItem],
        loop: HandlerLoop,
        logger: Any,
        hooks_timeout_ms: int,
        limits: SizeLimits,
        scope: SpanScope | None = None,
    ) -> None:
        self._index = index
        self._ledger = ledger
        self._ready = ready
        self._source = source
        self._router = router
        self._tokens = cells.tokens
        self._deadlines = cells.deadlines
        self._guard = guard
        self._loop = loop
        self._logger = logger
        self._hooks_timeout = hooks_timeout_ms / 1000
        self._limits = limits
        self._scope = scope

    def receive(self, message: ExecuteSteps) -> None:  # noqa: ARG002 - it says only that there is work
        """Run ready steps until none is left or may begin, and hand on each result at once."""
        while not self._ledger.outflow.is_full:
            try:
                step = self._ready.popleft()
            except IndexError:
                break
            self._execute(step)
        self._source.tell(ExecutorFree(self._index))

    def on_failure(self, error: BaseException) -> None:
        """Fail the attempt that this instance leaves behind, and let the source know that its successor is free."""
        failure = StepFailure(f"the executor failed: {described(error)}", ErrorType.HANDLER_ERROR.value)
        for item in self._ledger.items(Stage.RUNNING):
            if item.executor == self._index:
                step = without_publishers(item.step)
                handled = HandledStep(failure, (), 0.0, item.began_at, {})
                self._hand_on(item, self._conclude(step, handled))
        self._source.tell(ExecutorFree(self._index))

    def _execute(self, step: LeasedStep) -> None:
        item = self._ledger.begin(step.token, self._index, time.monotonic())
        if item is None:
            return
        self._deadlines[self._index] = _deadline_ns(step.plan.timeout_ms / 1000)
        self._tokens[self._index] = step.token
        # Log lines of the handler and of the hooks carry this step's ids.
        context = CURRENT.set(step)
        try:
            finished = self._attempt(item)
        finally:
            CURRENT.reset(context)
            self._tokens[self._index] = 0
        self._hand_on(item, finished)

    def _hand_on(self, item: LedgerItem, finished: FinishedStep) -> None:
        if self._ledger.finish(item, finished):
            step = item.step
            self._router.tell(StepFinished(finished), trace=step.trace, correlation_id=step.correlation_id)

    def _attempt(self, item: LedgerItem) -> FinishedStep:
        handled = item.handled = self._handle(item)
        if not item.step.plan.has_publishers:
            return self._conclude(item.step, handled)
        try:
            self._deadlines[self._index] = _deadline_ns(self._hooks_timeout)
            deadline = time.monotonic() + self._hooks_timeout
            self._guard.begin(item, deadline)
            try:
                return self._conclude(item.step, handled, partial(self._await_hook, item.step.token, deadline))
            finally:
                self._guard.end()
        except BaseException:  # noqa: BLE001 - a hook hung, or raised what is no Exception: it costs its event only
            return self._conclude(without_publishers(item.step), handled)

    def _handle(self, item: LedgerItem) -> HandledStep:
        step = item.step
        input_data = orjson.loads(step.task.context)
        code_events: list[Any] = []
        starter = TaskStarter(step)
        began = time.monotonic()
        try:
            deadline = began + step.plan.timeout_ms / 1000
            self._guard.begin(item, deadline)
            try:
                outcome = self._call(item, input_data, code_events, starter, deadline)
            finally:
                self._guard.end()
        except StepTimeoutError:
            outcome = timed_out(step)
        duration_ms = (time.monotonic() - began) * 1000
        return HandledStep(outcome, tuple(code_events), duration_ms, began, input_data, tuple(starter.started))

    def _call(
        self,
        item: LedgerItem,
        input_data: dict[str, Any],
        code_events: list[Any],
        starter: TaskStarter,
        deadline: float,
    ) -> StepOutcome:
        step = item.step
        context = context_of(
            step,
            input_data,
            code_events,
            deadline=deadline,
            cancelled=item,
            logger=StepLogger(self._logger, step),
            starter=starter,
        )
        return call_handler(step, context, run=partial(self._loop.run, token=step.token), scope=self._scope)

    def _await_hook(self, token: int, deadline: float, hook: Awaitable[Any]) -> Any:
        """Run an async hook where async handlers run: what a publisher keeps open belongs to one loop.

        Nothing can interrupt this thread meanwhile, so it is the loop that cancels a hook past its limit.
        """
        return within(hook, partial(self._loop.run, token=token), deadline - time.monotonic(), StepTimeoutError)

    def _conclude(self, step: LeasedStep, handled: HandledStep, await_hook: AwaitHook = in_own_loop) -> FinishedStep:
        return conclude(
            step,
            handled,
            now=datetime.now(UTC),
            ended_at=time.monotonic(),
            random=random.random(),  # noqa: S311 - jitter, no secret
            limits=self._limits,
            await_hook=await_hook,
        )
