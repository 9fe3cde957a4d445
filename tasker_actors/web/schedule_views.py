"""What clients get about schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tasker_actors.web.views import View
from tasker_actors.workflow.schedule import CatchUp


class ScheduleErrorView(View):
    """Why the last firing came to nothing."""

    message: str
    scheduled_for: str | None
    failed_at: str


class ScheduleBrief(View):
    """A schedule as a list has it. `next_fire_at` is null while it is paused, and if it never fires again."""

    name: str
    namespace: str
    template: str
    version: str | None
    cron: str
    timezone: str
    scheduled_for_key: str | None
    priority: int
    tags: list[str]
    catch_up: CatchUp
    enabled: bool
    next_fire_at: datetime | None
    last_fired_at: datetime | None
    last_task_uuid: str | None
    last_error: ScheduleErrorView | None
    created_at: datetime
    updated_at: datetime


class ScheduleView(ScheduleBrief):
    """A schedule with the context of its tasks and its next five firings."""

    context: dict[str, Any]
    next_fire_times: list[datetime]


class ScheduleList(View):
    """A page of schedules; the next one begins after `next_cursor`, null after the last."""

    schedules: list[ScheduleBrief]
    next_cursor: str | None


class FiredTask(View):
    """The task of a schedule that was fired by hand."""

    task_uuid: str
    correlation_id: str
