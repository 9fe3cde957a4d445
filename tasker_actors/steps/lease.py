"""What a worker holds: leased steps, with all that is needed to run them without another look at the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasker_actors.events.outgoing import BoundDeclaration
from tasker_actors.steps.bound import BoundHandler
from tasker_actors.steps.task_templates import NO_TEMPLATES, TaskTemplates
from tasker_actors.telemetry.trace_context import TraceContext
from tasker_actors.values import value
from tasker_actors.workflow.dynamic import PLAIN, DynamicStep
from tasker_actors.workflow.dynamic_limits import DEFAULT_LIMITS, DynamicLimits
from tasker_actors.workflow.outcome import StepFailure
from tasker_actors.workflow.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step of one template, bound to this process's handler and publishers; shared by all its tasks.

    `unavailable` is set instead of `handler` when this process cannot run the step; the attempt then fails with it.
    `task_type` is the template's name; `has_publishers` tells whether users' code has a say in the step's events.
    `dynamic` says what its result or its failure means for other steps, whose `positions` are here by name. `templates`
    are those of the tasks that its handler may start.
    """

    namespace: str
    task_type: str
    position: int
    name: str
    handler: BoundHandler | None
    handler_name: str
    unavailable: StepFailure | None
    retry: RetryPolicy
    timeout_ms: int
    declarations: tuple[BoundDeclaration, ...]
    has_publishers: bool
    step_config: Mapping[str, Any]
    positions: Mapping[str, int] = field(default_factory=dict)
    dynamic: DynamicStep = PLAIN
    limits: DynamicLimits = DEFAULT_LIMITS
    templates: TaskTemplates = NO_TEMPLATES


@value()
class TaskFacts:
    """What all steps of one task share in this worker; each attempt decodes a context of its own from `context`.

    `trace` names the task's own span, `parent_span_id` that of whoever created the task within a trace of theirs.
    `depth` is how many tasks are above it, each started by a step of the one before.
    """

    task_uuid: str
    template_id: int
    context: bytes
    correlation_id: str
    parent_correlation_id: str | None
    trace: TraceContext
    parent_span_id: str | None = None
    depth: int = 0


@value(eq=False)
class LeasedStep:
    """One claim on one step: valid as long as its token stands in the step's row (DESIGN 3 rule 3).

    `attempt` is the number this attempt has if it begins. A suspect ran beside others when a worker died, so it runs
    alone. `trace` is the span of this attempt, a child of the task's root; `leased_at` is in monotonic seconds.

    `position` and `name` are those of its row: they differ from the plan's for an instance of a batch worker, which has
    `inputs` too. `checkpoint` is where the last slice of its work ended, None where there was none, `children` are the
    tasks that it waited for, as `ChildTask.of` reads them.
    """

    token: int
    task: TaskFacts
    plan: StepPlan
    step_uuid: str
    attempt: int
    suspect: bool
    waited_ms: float
    dependency_results: dict[str, Any]
    dependency_bytes: int
    trace: TraceContext
    leased_at: float
    position: int
    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] | None = None
    children: Sequence[Mapping[str, Any]] = ()

    @property
    def correlation_id(self) -> str:
        """The task's correlation id."""
        return self.task.correlation_id

    @property
    def bytes(self) -> int:
        """The size of the input: the task's context and the results that the step depends on."""
        return len(self.task.context) + self.dependency_bytes
