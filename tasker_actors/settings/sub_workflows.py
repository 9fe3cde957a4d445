"""How much steps may do with tasks that they start."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasker_actors.settings.section import Section
from tasker_actors.settings.values import Bytes, Count
from tasker_actors.workflow.dynamic_limits import DEFAULT_LIMITS


class SubWorkflowSettings(Section):
    """Tasks that steps start."""

    max_tasks: Annotated[Count, Field(le=10_000)] = Field(
        default=DEFAULT_LIMITS.max_tasks, description="Most tasks that one attempt may start, and wait for."
    )
    max_context_bytes: Bytes = Field(
        default=DEFAULT_LIMITS.max_context_bytes, description="Largest context of such a task, as bytes of JSON."
    )
    max_depth: Annotated[Count, Field(le=1_000)] = Field(
        default=DEFAULT_LIMITS.max_task_depth, description="Most tasks above one that a step has started."
    )
