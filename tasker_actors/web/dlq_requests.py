"""What clients send about dead letters of tasks."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from tasker_actors.web.step_control_requests import Who, Why
from tasker_actors.workflow.dead_tasks import DlqReason, DlqStatus
from tasker_actors.workflow.request_model import ApiModel, BodyModel

_OF_THE_ORIGINAL = {
    "Pending": DlqStatus.PENDING,
    "ManuallyResolved": DlqStatus.MANUALLY_RESOLVED,
    "PermanentlyFailed": DlqStatus.PERMANENTLY_FAILED,
    "Cancelled": DlqStatus.CANCELLED,
}


def _status(value: Any) -> Any:
    # The original's documents have it in snake_case, and its Rust client writes it in CamelCase.
    return _OF_THE_ORIGINAL.get(value, value) if isinstance(value, str) else value


Status = Annotated[DlqStatus, Field(strict=False), BeforeValidator(_status)]
"""How far an investigation is, in either of the original's spellings."""


class DlqQuery(ApiModel):
    """Which entries to read, the newest first."""

    resolution_status: Status | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 50
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class DlqLimit(ApiModel):
    """How many to read."""

    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class NewDlqEntry(BodyModel):
    """Why somebody should look at a task, and who says so."""

    sent_by: Who
    reason: Annotated[Why, Field(description="In words; it is kept in the entry's metadata.")]
    dlq_reason: Annotated[DlqReason, Field(strict=False)] = DlqReason.MANUAL_DLQ
    metadata: Annotated[dict[str, Any], Field(default_factory=dict, description="Whatever else is known.")]


class DlqUpdate(BodyModel):
    """How far an investigation is; what is left out stays as it is, metadata are added."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"resolution_status": "manually_resolved", "resolution_notes": "disk", "resolved_by": "ann"}]
        }
    )

    resolution_status: Status | None = None
    resolution_notes: Why | None = None
    resolved_by: Who | None = None
    metadata: Any = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.resolution_status, self.resolution_notes, self.resolved_by, self.metadata) == (None,) * 4:
            msg = "give at least one of resolution_status, resolution_notes, resolved_by and metadata"
            raise ValueError(msg)
        return self
