"""ScheduleActor: fires the schedules that are due, and knows when the next one will be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasker_actors.actors import Actor, LocalAddress
from tasker_actors.messages import Count, FireSchedules
from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.schedule_firing import Fired, fire_next, next_firing_s
from tasker_actors.postgres.scheduled_tasks import ScheduledTasks
from tasker_actors.postgres.schedules import Schedule
from tasker_actors.postgres.session import (
    PASSING_ERRORS,
    DatabaseBusyError,
    OutcomeUnknownError,
    PermissionMissingError,
    Pool,
    QueryTimeoutError,
)
from tasker_actors.settings.schedules import ScheduleSettings
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.workflow.schedule import CatchUpLimits, firing_time

logger = get_logger("tasker_actors.schedules")

_DOING = "firing schedules"
_PAUSE_S = 1.0
_TAKEN_S = 0.05
"""A schedule that is due and that somebody else fires is looked at again, in case he dies of it."""

_MOST_AT_ONCE = 1_000
_LEFT_S = 60.0
"""What cannot be fired here is looked at again after that: one line of the log a minute, until somebody helps."""

_CUT_OFF = (OutcomeUnknownError, DatabaseBusyError, QueryTimeoutError)
"""What ends a firing that takes too long: its own connection, a lock, the server. Not what the server itself lacks."""

_ROUND = 100
"""Schedules that fire on one message; a message that stops the actor waits no longer than that."""


@dataclass(frozen=True, slots=True)
class _Left:
    """A schedule that cannot be fired here: when it was last changed, and how long to pass it over."""

    changed: datetime
    until: float


class ScheduleActor(Actor):
    """Every supervisor has one, and whichever comes first fires: there is no leader whose death could delay a firing.

    `alarm` is told when it wants its next message; `released` that there are steps to run.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        settings: ScheduleSettings,
        making: ScheduledTasks,
        stats: LocalAddress,
        availability: Availability,
        alarm: Callable[[float], None],
        released: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._making = making
        self._stats = stats
        self._availability = availability
        self._alarm = alarm
        self._released = released
        self._poll_s = settings.poll_interval_ms / 1000
        self._limits = CatchUpLimits(
            grace=timedelta(milliseconds=settings.grace_ms), most=settings.max_catch_up, at_once=_MOST_AT_ONCE
        )
        self._lacks: str | None = None
        self._left: dict[str, _Left] = {}
        self._trying: Schedule | None = None
        self._cut: tuple[str, datetime] | None = None
        """Name and last change of the schedule whose firing was cut off last."""

    def on_start(self) -> None:
        """Look at once; a new instance does not know when the one before it wanted to."""
        self._alarm(time.monotonic())

    def receive(self, message: FireSchedules) -> None:
        """Fire all that is due; what waits behind this message is the same again."""
        self.take_waiting(100, type(message))
        now = time.monotonic()
        self._left = {name: left for name, left in self._left.items() if left.until > now}
        pause_s = _PAUSE_S
        try:
            pause_s = self._pause_s() if self._fire() else 0.0
        except PASSING_ERRORS as error:
            self._availability.failed(_DOING, str(error))
            if isinstance(error, _CUT_OFF):
                self._note_cut(str(error))
        except PermissionMissingError as error:
            if str(error) != self._lacks:
                self._lacks = str(error)
                logger.error("Schedules cannot be fired", error=str(error))
        else:
            self._lacks = None
            self._availability.worked(_DOING)
        self._alarm(time.monotonic() + pause_s)

    def _fire(self) -> bool:
        """Fire what is due, as much as one round has; returns whether that was all."""
        for _ in range(_ROUND):
            self._trying = None
            fired = fire_next(self._pool, self._making, self._limits, self._passed_over(), self._try)
            if fired is None:
                return True
            if self._cut == (fired.schedule.name, fired.schedule.updated_at):
                self._cut = None
            if fired.left:
                self._left[fired.schedule.name] = _Left(fired.schedule.updated_at, time.monotonic() + _LEFT_S)
            self._tell(fired)
        return False

    def _try(self, schedule: Schedule) -> None:
        self._trying = schedule

    def _note_cut(self, error: str) -> None:
        """Pass a schedule over for a while whose firing was cut off twice in a row, so that others have their turn.

        Once may be the server's end; twice it may be its own, as where its task takes longer than a statement may.
        """
        schedule = self._trying
        if schedule is None:
            return
        last, self._cut = self._cut, (schedule.name, schedule.updated_at)
        if last == self._cut:
            self._left[schedule.name] = _Left(schedule.updated_at, time.monotonic() + _LEFT_S)
            logger.warning(
                "A schedule's firing was cut off twice and waits, so that others come",
                schedule=schedule.name,
                error=error,
                pause_s=_LEFT_S,
                advice="look what its tasks wait for: locks, triggers, or a server that is too slow for them",
            )

    def _pause_s(self) -> float:
        """Return how long nothing is due; a change of a schedule is announced, and the poll is for the rest."""
        until_next_s = next_firing_s(self._pool, self._passed_over())
        pauses_s = [self._poll_s, *(left.until - time.monotonic() for left in self._left.values())]
        if until_next_s is not None:
            pauses_s.append(until_next_s if until_next_s > 0 else _TAKEN_S)
        return min(pauses_s)

    def _passed_over(self) -> dict[str, datetime]:
        return {name: left.changed for name, left in self._left.items()}

    def _tell(self, fired: Fired) -> None:
        schedule = fired.schedule
        if fired.tasks:
            count = len(fired.tasks)
            self._stats.tell(Count(metrics.TASK_REQUESTS, (schedule.namespace, schedule.template), count))
            self._stats.tell(Count(metrics.SCHEDULE_FIRINGS, (schedule.namespace, "success"), count))
            self._released()
            logger.info(
                "A schedule fired",
                schedule=schedule.name,
                tasks=count,
                task_uuid=fired.tasks[-1].task_uuid,
                correlation_id=fired.tasks[-1].correlation_id,
            )
        if fired.dropped is not None:
            first, until = fired.dropped
            logger.warning(
                "Missed firings of a schedule are not made up for",
                schedule=schedule.name,
                catch_up=schedule.catch_up.value,
                first=firing_time(first),
                before=None if until is None else firing_time(until),
            )
        if fired.error is not None:
            self._stats.tell(Count(metrics.SCHEDULE_FIRINGS, (schedule.namespace, "failure")))
            if fired.left:
                logger.warning(
                    "A schedule cannot be fired here and is left to others",
                    schedule=schedule.name,
                    error=fired.error,
                    advice="update this supervisor and what it lacks, or put the schedule anew",
                )
            else:
                logger.warning("A schedule could not fire", schedule=schedule.name, error=fired.error)
