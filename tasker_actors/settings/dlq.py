"""Settings of dead letters of tasks."""

from __future__ import annotations

from pydantic import Field

from tasker_actors.settings.section import Section
from tasker_actors.settings.values import Count, Milliseconds, Minutes


class DlqSettings(Section):
    """Dead letters of tasks: which tasks get an entry by themselves. A template's `lifecycle` comes before this."""

    failed_tasks: bool = Field(default=True, description="A task that failed gets an entry.")
    stale_tasks: bool = Field(
        default=True, description="Tasks that stand still are looked for, and dealt with as their template says."
    )
    interval_ms: Milliseconds = Field(default=30_000, description="Time between two looks at what stands still.")
    max_waiting_for_dependencies_minutes: Minutes | None = Field(
        default=60, description="Time for which a task that has begun may wait with nothing of it running or retried."
    )
    max_waiting_for_retry_minutes: Minutes | None = Field(
        default=30, description="Time for which a task may only wait for a retry."
    )
    max_steps_in_process_minutes: Minutes | None = Field(
        default=30, description="Time for which steps of a task may run without any of them coming to an end."
    )
    max_duration_minutes: Minutes | None = Field(default=None, description="Time that a task may take in all.")
    max_scanned_steps: Count = Field(
        default=10_000, description="Waiting steps of a namespace, the oldest, whose tasks are looked at for that."
    )
    max_stale_tasks: Count = Field(default=100, description="Most tasks dealt with in one look, the worst first.")
    max_failed_tasks: Count = Field(default=1_000, description="Most failed tasks that get an entry in one round.")
    max_reset_tasks: Count = Field(default=100, description="Most failed tasks that one request resets.")
