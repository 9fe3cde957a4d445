"""Starts what fires schedules: an actor, and the alarm that wakes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tasker_actors.actors import ActorSystem, LocalAddress
from tasker_actors.messages import FireSchedules
from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.scheduled_tasks import ScheduledTasks
from tasker_actors.postgres.session import Pool
from tasker_actors.settings.schedules import ScheduleSettings
from tasker_actors.supervision.alarm import Alarm
from tasker_actors.supervision.schedules import ScheduleActor
from tasker_actors.supervision.stats_start import SCHEDULES
from tasker_actors.telemetry.trace_context import TraceContext


def schedule_alarm(system: ActorSystem) -> Alarm:
    """Make the alarm that tells the ScheduleActor to look; it is silent until it is started."""
    return Alarm(lambda: system.address(SCHEDULES).tell(FireSchedules()), "schedule-alarm")


def start_schedules(
    system: ActorSystem,
    settings: ScheduleSettings,
    *,
    pool: Pool,
    new_trace: Callable[[], TraceContext],
    stats: LocalAddress,
    availability: Availability,
    alarm: Alarm,
    released: Sequence[Callable[[], None]],
) -> None:
    """Start the ScheduleActor. Each of `released` is called when there are steps to run."""

    def wake() -> None:
        for call in released:
            call()

    making = ScheduledTasks(new_trace)
    system.start(
        SCHEDULES,
        partial(
            ScheduleActor,
            pool=pool,
            settings=settings,
            making=making,
            stats=stats,
            availability=availability,
            alarm=alarm.set,
            released=wake,
        ),
    )
