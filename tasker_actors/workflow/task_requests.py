"""What clients send about tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tasker_actors.workflow.identity import MAX_UNIQUE_SECONDS
from tasker_actors.workflow.request_model import (
    WHOLE,
    WITHOUT_NUL,
    ApiModel,
    BodyModel,
    Moment,
    MomentInBody,
    Text,
    Uuid,
)
from tasker_actors.workflow.states import TaskState

MAX_BATCH = 1_000
MAX_PRIORITY = 1_000
MAX_DELAY_S = 31_536_000
"""A year: what lies further ahead is said as a moment."""

_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
MAX_PASSED_OVER = 100_000
"""Tasks before a page by number: each is read to be passed over, so who wants to see more goes on by the cursor."""

PER_PAGE = 50
"""Tasks of a page where nobody says how many; the original's clients always do."""

_LongText = Annotated[str, Field(max_length=2_000, json_schema_extra={**WITHOUT_NUL})]


def _or_zero(value: Any) -> Any:
    return 0 if value is None else value


def _no_options(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value:
        msg = (
            "a task has no options of its own: what its steps do is in the template, and what they need in the context"
        )
        raise ValueError(msg)
    return value


class NewTask(BodyModel):
    """A task to create."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"namespace": "shop", "name": "order", "context": {"amount": 5}, "initiator": "ann"}]
        }
    )

    name: Annotated[Text, Field(description="Name of the template.")]
    namespace: Annotated[Text, Field(description="Namespace of the template.")]
    version: Annotated[Text | None, Field(description="Version of the template; left out: the newest.")] = None
    context: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="What the task is about: fits the template's input_schema."),
    ]
    initiator: Annotated[Text | None, Field(description="Who asked for the task.")] = None
    source_system: Annotated[Text | None, Field(description="Where the request came from.")] = None
    reason: Annotated[_LongText | None, Field(description="Why.")] = None
    priority: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_PRIORITY,
            description="Runs as if it were this many hours older than it is; null is 0.",
            json_schema_extra={"type": ["integer", "null"]},
        ),
        WHOLE,
        BeforeValidator(_or_zero),
    ] = 0
    tags: Annotated[list[Text], Field(default_factory=list, max_length=50, description="Words to find it by.")]
    correlation_id: Annotated[Uuid | None, Field(description="Left out: x-correlation-id, else a new UUIDv7.")] = None
    parent_correlation_id: Annotated[Uuid | None, Field(description="Correlation id of what led to it.")] = None
    idempotency_key: Annotated[
        Text | None, Field(description="A second task of this template with the same key is refused with 409.")
    ] = None
    unique_for_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_UNIQUE_SECONDS,
            description="Unique among the tasks of one period of this length: by its key, else by its context.",
        ),
        WHOLE,
    ] = None
    run_at: Annotated[
        MomentInBody | None, Field(description="Nothing of it begins before; a moment that is over means now.")
    ] = None
    delay_seconds: Annotated[
        int | None,
        Field(ge=0, le=MAX_DELAY_S, description="The same as a time from now, by the clock of the database."),
        WHOLE,
    ] = None
    requested_at: Annotated[
        Text | None, Field(description="Taken from clients of the original and not kept: `created_at` is what counts.")
    ] = None
    options: Annotated[
        dict[str, Any] | None,
        AfterValidator(_no_options),
        Field(description="Null or empty: a task has none of its own.", json_schema_extra={"maxProperties": 0}),
    ] = None

    @field_validator("run_at")
    @classmethod
    def _before_the_end(cls, run_at: datetime | None) -> datetime | None:
        if run_at is not None and run_at >= _END_OF_TIME:
            msg = "must be before the year 9999"
            raise ValueError(msg)
        return run_at

    @field_validator("delay_seconds")
    @classmethod
    def _starts_once(cls, delay_seconds: int | None, info: ValidationInfo) -> int | None:
        if delay_seconds is not None and info.data.get("run_at") is not None:
            msg = "give run_at or delay_seconds, not both"
            raise ValueError(msg)
        return delay_seconds


class NewTasks(BodyModel):
    """Tasks to create together, all or none."""

    tasks: Annotated[list[NewTask], Field(min_length=1, max_length=MAX_BATCH)]


class CancelQuery(ApiModel):
    """Who cancels a task, and why."""

    cancelled_by: Annotated[Text | None, Field(description="Who does it.")] = None
    reason: Annotated[Text | None, Field(description="Why.")] = None


class TaskQuery(ApiModel):
    """Which tasks to list, the newest first: a page by its number, or with `limit` and `cursor` one after the other."""

    namespace: Text | None = None
    name: Text | None = None
    version: Text | None = None
    status: TaskState | None = None
    initiator: Text | None = None
    source_system: Text | None = None
    correlation_id: Uuid | None = None
    tag: Text | None = None
    created_after: Annotated[Moment | None, Field(description="Created at this moment or later.")] = None
    created_before: Annotated[Moment | None, Field(description="Created before this moment.")] = None
    page: Annotated[int | None, Field(ge=1, le=MAX_PASSED_OVER, description="Number of the page; left out: 1.")] = None
    per_page: Annotated[int | None, Field(ge=1, le=200, description=f"Left out: {PER_PAGE}.")] = None
    limit: Annotated[
        int | None, Field(ge=1, le=200, description=f"Left out: {PER_PAGE}. A page can be shorter, with more to come.")
    ] = None
    cursor: Annotated[Uuid | None, Field(description="`next_cursor` of the page before.")] = None

    @property
    def by_cursor(self) -> bool:
        """Whether the list goes on from where the page before has ended."""
        return self.limit is not None or self.cursor is not None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.by_cursor and (self.page is not None or self.per_page is not None):
            msg = "page or per_page goes with neither limit nor cursor: those list one page after the other"
            raise ValueError(msg)
        if ((self.page or 1) - 1) * (self.per_page or PER_PAGE) > MAX_PASSED_OVER:
            msg = f"page goes with at most {MAX_PASSED_OVER} tasks before it: use limit, and then cursor"
            raise ValueError(msg)
        return self
