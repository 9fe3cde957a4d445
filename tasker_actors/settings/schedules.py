"""Settings of schedules."""

from __future__ import annotations

from pydantic import Field

from tasker_actors.settings.section import Section
from tasker_actors.settings.values import Count, Milliseconds


class ScheduleSettings(Section):
    """Schedules: how a supervisor fires them."""

    poll_interval_ms: Milliseconds = Field(
        default=5_000, description="Longest time between two looks at what is due; changes are announced anyway."
    )
    grace_ms: Milliseconds = Field(
        default=60_000, description="A firing that is this late was not missed: a schedule that skips has it too."
    )
    max_catch_up: Count = Field(
        default=1_000, description="Most missed firings of one schedule that are made up for, the newest."
    )
