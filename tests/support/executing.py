"""One StepExecutor in a real actor system, with its event loop and its cell of shared memory."""

from __future__ import annotations

import queue
import time
from collections import deque
from typing import Any

from support.leases import MIB, Inbox

from tasker_actors.actors import ActorSystem, RestartPolicy
from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.messages import ExecuteSteps, ExecutorFree
from tasker_actors.steps.conclude import SizeLimits
from tasker_actors.steps.executor import StepExecutor
from tasker_actors.steps.failures import StepTimeoutError
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.handler_loop import HandlerLoop
from tasker_actors.steps.ledger import Ledger, LedgerItem
from tasker_actors.steps.outflow import Outflow
from tasker_actors.telemetry.logging import get_logger


class Tokens(list[int]):
    """One cell, and everything that was ever written into it."""

    def __init__(self) -> None:
        super().__init__([0])
        self.written: list[int] = []
        self.broken = False

    def __setitem__(self, cell: Any, token: Any) -> None:
        if self.broken:
            self.broken = False
            raise OSError("the shared memory is gone")
        self.written.append(token)
        super().__setitem__(cell, token)


class Bench:
    """One executor, and what it told source and router."""

    def __init__(self, hooks_timeout_ms: int = 30_000) -> None:
        self.restarts: list[str] = []
        self.system = ActorSystem("worker-0", on_restart=lambda _actor, reason, _error: self.restarts.append(reason))
        self.ledger = Ledger(None, Outflow(16 * MIB))
        self.ready: deque[Any] = deque()
        self.tokens = Tokens()
        self.deadlines = [0]
        self.guard: CallGuard[LedgerItem] = CallGuard(StepTimeoutError)
        self.loop = HandlerLoop(get_logger("tests"))
        self.loop.start()
        self.freed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        source = self.system.start("source", lambda: Inbox(self.freed))
        router = self.system.start("router", lambda: Inbox(self.finished))
        self.address = self.system.start(
            "executor",
            lambda: StepExecutor(
                0,
                ledger=self.ledger,
                ready=self.ready,
                source=source,
                router=router,
                cells=self,
                guard=self.guard,
                loop=self.loop,
                logger=get_logger("tests"),
                hooks_timeout_ms=hooks_timeout_ms,
                limits=SizeLimits(max_result_bytes=64 * MIB, max_payload_bytes=MIB),
            ),
            RestartPolicy(backoff_base_ms=0),
        )

    def start(self, *steps: Any) -> None:
        """Make steps ready and wake the executor."""
        self.ledger.add(steps)
        self.ready.extend(steps)
        self.address.tell(ExecuteSteps())

    def run(self, *steps: Any) -> list[FinishedStep]:
        """Run steps to their end."""
        self.start(*steps)
        results = [self.finished.get(timeout=10).finished for _ in steps]
        assert self.freed.get(timeout=10) == ExecutorFree(0)
        return results

    def interrupt(self, grace: float = 1000.0) -> LedgerItem | None:
        """Let the clock be past every limit."""
        return self.guard.check(time.monotonic() + 500.0, grace)

    def close(self) -> None:
        """Stop everything."""
        left = self.system.stop_all([], time.monotonic() + 5)
        self.loop.stop(time.monotonic() + 5)
        self.loop.loop.close()
        assert left == ()
