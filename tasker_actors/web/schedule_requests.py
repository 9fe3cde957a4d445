"""What clients send about schedules."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tasker_actors.workflow.cron import MAX_LENGTH
from tasker_actors.workflow.request_model import WHOLE, WITHOUT_NUL, ApiModel, BodyModel, Text
from tasker_actors.workflow.schedule import CatchUp
from tasker_actors.workflow.task_requests import MAX_PRIORITY

MAX_TAGS = 40
"""Of a task's 50: each firing adds its own."""


class ScheduleBody(BodyModel):
    """A schedule: which tasks are created, and when."""

    namespace: Annotated[Text, Field(description="Namespace of the template.")]
    template: Annotated[Text, Field(description="Name of the template.")]
    version: Annotated[
        Text | None, Field(description="Version of the template; left out: the newest at each firing.")
    ] = None
    cron: Annotated[
        str,
        Field(
            max_length=MAX_LENGTH,
            description="Minute, hour, day of the month, month, day of the week; or these after a second.",
            json_schema_extra={**WITHOUT_NUL},
        ),
    ]
    timezone: Annotated[Text, Field(description="The zone whose clocks are meant, as in Europe/Berlin.")] = "UTC"
    context: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="Context of each task: fits the template's input_schema."),
    ]
    scheduled_for_key: Annotated[
        Text | None, Field(description="Key of the context that gets the moment of each firing, in UTC.")
    ] = None
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY, description="Priority of each task."), WHOLE] = 0
    tags: Annotated[list[Text], Field(default_factory=list, max_length=MAX_TAGS, description="Tags of each task.")]
    catch_up: Annotated[
        CatchUp,
        Field(strict=False, description="What becomes of missed firings: none, the latest, or all are made up for."),
    ] = CatchUp.LATEST
    enabled: Annotated[bool, Field(description="Whether it fires; false: it is paused.")] = True


class ScheduleSwitch(BodyModel):
    """Whether a schedule fires."""

    enabled: Annotated[bool, Field(description="False pauses it; true resumes it, without what was due meanwhile.")]


class ScheduleQuery(ApiModel):
    """Which schedules to list, in the order of their names."""

    namespace: Text | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[Text | None, Field(description="`next_cursor` of the page before.")] = None
