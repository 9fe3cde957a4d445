"""What clients send to act on steps and failed tasks: what is to be done, who wants it, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from tasker_actors.workflow.request_model import BodyModel, MomentInBody, Text, Uuid
from tasker_actors.workflow.step_action import StepAction

MAX_REASON = 2_000


def _said(text: str) -> str:
    if not text.strip():
        msg = "must say something"
        raise ValueError(msg)
    return text


_SAYS_SOMETHING = {"pattern": "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$"}

Who = Annotated[Text, Field(json_schema_extra={**_SAYS_SOMETHING}), AfterValidator(_said)]
Why = Annotated[
    str, Field(min_length=1, max_length=MAX_REASON, json_schema_extra={**_SAYS_SOMETHING}), AfterValidator(_said)
]

_BY = {
    StepAction.RESET_FOR_RETRY: "reset_by",
    StepAction.RESOLVE_MANUALLY: "resolved_by",
    StepAction.COMPLETE_MANUALLY: "completed_by",
}


class CompletionData(BodyModel):
    """What a step came to."""

    result: Annotated[Any, Field(description="What the steps after it get: any JSON value, as from a handler.")]
    metadata: Annotated[Any, Field(description="Kept with the record of who did it.")] = None


class StepControl(BodyModel):
    """What to do to a step: who does it goes with the action, `completion_data` with complete_manually."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"action_type": "reset_for_retry", "reason": "the disk was replaced", "reset_by": "ann"},
                {
                    "action_type": "complete_manually",
                    "reason": "done by phone",
                    "completed_by": "ann",
                    "completion_data": {"result": {"ok": True}},
                },
            ]
        }
    )

    action_type: Annotated[StepAction, Field(strict=False)]
    reason: Annotated[Why, Field(description="Why it is done.")]
    reset_by: Annotated[Who | None, Field(description="Who does it, of reset_for_retry.")] = None
    resolved_by: Annotated[Who | None, Field(description="Who does it, of resolve_manually.")] = None
    completed_by: Annotated[Who | None, Field(description="Who does it, of complete_manually.")] = None
    completion_data: CompletionData | None = None

    @property
    def by(self) -> str:
        """Who does it."""
        who: str = getattr(self, _BY[self.action_type])
        return who

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        needed = _BY[self.action_type]
        for key in _BY.values():
            if (getattr(self, key) is None) == (key == needed):
                msg = f"{needed} goes with {self.action_type}, and no other key that says who does it"
                raise ValueError(msg)
        if (self.completion_data is None) == (self.action_type is StepAction.COMPLETE_MANUALLY):
            msg = "completion_data goes with complete_manually, and with nothing else"
            raise ValueError(msg)
        return self


class TaskResetBody(BodyModel):
    """Who lets the failed steps of a task run again, and why."""

    reset_by: Who
    reason: Why


class FailedTasksBody(TaskResetBody):
    """Which failed tasks are reset, all that fit: a batch of them in one request."""

    namespace: Annotated[Text | None, Field(description="Of this namespace.")] = None
    name: Annotated[Text | None, Field(description="Of templates with this name.")] = None
    error_type: Annotated[Text | None, Field(description="With a step that failed with this error type.")] = None
    failed_before: Annotated[MomentInBody | None, Field(description="That failed before this moment.")] = None
    failed_after: Annotated[MomentInBody | None, Field(description="That failed at this moment or later.")] = None
    all: Annotated[bool, Field(description="All failed tasks; without it a filter has to be given.")] = False
    after: Annotated[Uuid | None, Field(description="Go on after this task: `next_after` of the batch before.")] = None

    @property
    def ages(self) -> tuple[datetime | None, datetime | None]:
        """The moments between which they failed."""
        return self.failed_after, self.failed_before

    @model_validator(mode="after")
    def _filters_or_all(self) -> Self:
        filters = (self.namespace, self.name, self.error_type, *self.ages)
        if self.all == any(each is not None for each in filters):
            msg = "give at least one filter, or else all"
            raise ValueError(msg)
        return self
