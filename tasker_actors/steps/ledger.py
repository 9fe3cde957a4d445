"""What this worker holds, outside of every actor, so that no actor's failure can lose it (DESIGN 3 rule 8)."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from tasker_actors.steps.outflow import Outflow, events_size

if TYPE_CHECKING:
    from tasker_actors.steps.conclude import HandledStep
    from tasker_actors.steps.finished import FinishedStep
    from tasker_actors.steps.lease import LeasedStep


_REMEMBERED = 1000
"""Cancelled leases that are not held, of which a claim or a commit that is under way may bring some."""


class Stage(Enum):
    """How far a held step has come."""

    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()
    COMMITTING = auto()


class LedgerItem:
    """One held step: its stage, and while it runs its executor and, once the handler returned, what that gave.

    `place` is where its token stands among those that have begun, None before. It is also the handler's cancelled flag:
    set when the result will not be stored.
    """

    __slots__ = ("began_at", "cancelled", "event_bytes", "executor", "finished", "handled", "place", "stage", "step")

    def __init__(self, step: LeasedStep) -> None:
        self.step = step
        self.stage = Stage.WAITING
        self.executor = -1
        self.began_at = 0.0
        self.cancelled = False
        self.handled: HandledStep | None = None
        self.finished: FinishedStep | None = None
        self.place: int | None = None
        self.event_bytes = 0

    def is_set(self) -> bool:
        """Tell a handler that its attempt was given up."""
        return self.cancelled


class Cells(Protocol):
    """A part of the slot's shared memory: what the supervisor reads after this process died."""

    def __len__(self) -> int: ...

    def __setitem__(self, cell: int, token: int) -> None: ...


class BegunTokens(Protocol):
    """Who has the cells for the tokens of attempts that have begun."""

    @property
    def begun(self) -> Cells:
        """The cells; fetched each time, because the child of a fork has others."""


class Ledger:
    """Token → item. Free credits are the capacity minus what is in here: only commit, return and loss remove items.

    `finished` counts attempts since the start. Every move between stages is a compare-and-set under one lock, so an
    attempt that was given up by the clock and one that finished in the same moment have one result between them. Any
    thread may call.

    The token of every attempt is among `tokens` from before its handler begins until it is let go: wherever on its way
    to the commit it ends this process, it is known to have begun (DESIGN 3 rule 3). What those that ended publish is
    part of the `outflow`.
    """

    def __init__(self, tokens: BegunTokens | None = None, outflow: Outflow | None = None) -> None:
        self.outflow = outflow or Outflow()
        self._items: dict[int, LedgerItem] = {}
        self._cancelled_before: dict[int, None] = {}
        self._tokens = tokens
        self._places = [] if tokens is None else list(range(len(tokens.begun)))
        self._lock = threading.Lock()
        self.finished = 0
        self.emptied = threading.Event()
        self.emptied.set()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, steps: Iterable[LeasedStep]) -> None:
        """Hold newly leased steps, but for those whose cancellation came before the reply that leased them."""
        with self._lock:
            for step in steps:
                if step.token in self._cancelled_before:
                    del self._cancelled_before[step.token]
                else:
                    self._items[step.token] = LedgerItem(step)
            if self._items:
                self.emptied.clear()

    def get(self, token: int) -> LedgerItem | None:
        """Return a held item."""
        return self._items.get(token)

    def begin(self, token: int, executor: int, now: float) -> LedgerItem | None:
        """Move a waiting step to running; None if it is held no longer, or runs already."""
        with self._lock:
            item = self._items.get(token)
            if item is None or item.stage is not Stage.WAITING:
                return None
            item.stage = Stage.RUNNING
            item.executor = executor
            item.began_at = now
            if self._tokens is not None:
                item.place = self._places.pop()
                self._tokens.begun[item.place] = token
            return item

    def finish(self, item: LedgerItem, finished: FinishedStep) -> bool:
        """Move a running step to finished with its result; False if somebody else ended it."""
        size = events_size(finished.derived.events)
        with self._lock:
            if item.stage is not Stage.RUNNING or item.step.token not in self._items:
                return False
            item.stage = Stage.FINISHED
            item.finished = finished
            item.event_bytes = size
            self.finished += 1
            self.outflow.add(size)
            return True

    def committing(self, tokens: Iterable[int]) -> list[LedgerItem]:
        """Move finished steps to committing; those that are not finished (any more) are left out."""
        moved = []
        with self._lock:
            for token in tokens:
                item = self._items.get(token)
                if item is not None and item.stage is Stage.FINISHED:
                    item.stage = Stage.COMMITTING
                    moved.append(item)
        return moved

    def remove(self, tokens: Iterable[int]) -> list[LedgerItem]:
        """Let go of steps: committed, returned or lost."""
        with self._lock:
            removed = [item for token in tokens if (item := self._items.pop(token, None)) is not None]
            for item in removed:
                if self._tokens is not None and item.place is not None:
                    self._tokens.begun[item.place] = 0
                    self._places.append(item.place)
            if not self._items:
                self.emptied.set()
        self.outflow.remove(sum(item.event_bytes for item in removed))
        return removed

    def take_waiting(self, only: Container[int] | None = None) -> list[LedgerItem]:
        """Let go of every step that has not begun, to return it; of those with these tokens only, if they are given."""
        with self._lock:
            waiting = [
                item
                for token, item in self._items.items()
                if item.stage is Stage.WAITING and (only is None or token in only)
            ]
            for item in waiting:
                item.stage = Stage.COMMITTING
        return waiting

    def give_up_running(self) -> list[LedgerItem]:
        """Take running steps from their handlers, at the drain deadline; their later results do not count."""
        with self._lock:
            running = [item for item in self._items.values() if item.stage is Stage.RUNNING]
            for item in running:
                item.stage = Stage.COMMITTING
                item.cancelled = True
        return running

    def give_up(self, item: LedgerItem) -> bool:
        """Take one running step from its handler, to return it; False if it does not run any more."""
        with self._lock:
            if item.stage is not Stage.RUNNING or item.step.token not in self._items:
                return False
            item.stage = Stage.COMMITTING
            item.cancelled = True
            return True

    def cancel(self, tokens: Iterable[int]) -> None:
        """Tell handlers that their leases are gone; what has not begun never does.

        A lease that is not held may be one whose reply is on its way: the newest of these are remembered.
        """
        with self._lock:
            for token in tokens:
                item = self._items.get(token)
                if item is None:
                    self._cancelled_before[token] = None
                    if len(self._cancelled_before) > _REMEMBERED:
                        del self._cancelled_before[next(iter(self._cancelled_before))]
                elif item.stage is Stage.WAITING:
                    del self._items[token]
                else:
                    item.cancelled = True
            if not self._items:
                self.emptied.set()

    def items(self, *stages: Stage) -> list[LedgerItem]:
        """List the held items in the given stages, or all of them."""
        with self._lock:
            return [item for item in self._items.values() if not stages or item.stage in stages]

    def oldest_with_result(self) -> int | None:
        """Return the token of the first held step that only has to be committed or returned; None if there is none."""
        with self._lock:
            ended = (Stage.FINISHED, Stage.COMMITTING)
            return next((token for token, item in self._items.items() if item.stage in ended), None)

    def has_begun(self) -> bool:
        """Whether any attempt has begun and is not let go yet."""
        with self._lock:
            return any(item.executor >= 0 for item in self._items.values())

    def bytes(self) -> int:
        """Sum the input bytes of everything held."""
        with self._lock:
            return sum(item.step.bytes for item in self._items.values())
