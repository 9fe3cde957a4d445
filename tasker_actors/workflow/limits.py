"""Limits by key: which steps share one, and how much of it there is.

Steps have the same limit where scope, name and kind are the same in one namespace. A limit by a field of the context
has a key for each value of that field, any other limit has one key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasker_actors.workflow.template import LimitSpec, StepTemplate, TaskTemplate

MAX_LIMITS = 8
"""Of a template, and of a step beside those of its template."""


class LimitScope(StrEnum):
    """Which steps share a limit."""

    NAMESPACE = "namespace"
    """All of the namespace that declare it."""
    TEMPLATE = "template"
    """Those of the template, of all its tasks."""
    STEP = "step"
    """The step, in all tasks of the template."""
    CONTEXT = "context"
    """Those whose tasks have the same value in a field of their context."""


class LimitKind(StrEnum):
    """What of its steps a limit counts."""

    CONCURRENCY = "concurrency"
    """Those that are leased to a worker."""
    RATE = "rate"
    """Those that were leased in the last period."""


@dataclass(frozen=True, slots=True)
class PlannedLimit:
    """A limit as the database needs it; `field` is a path into the context, None for any other scope.

    `max_concurrent` belongs to one kind, `rate` and `period_seconds` to the other.
    """

    scope: str
    name: str
    kind: str
    field: tuple[str, ...] | None
    max_concurrent: int | None
    rate: int | None
    period_seconds: int | None


def limit_name(
    scope: LimitScope, kind: LimitKind, *, name: str | None, field: str | None, template: str, step: str | None
) -> str:
    """Name a limit within its namespace; `step` is None for one that is declared for a whole template.

    A name of its own lets limits by a field of the context be one for the whole namespace; without, each belongs to
    the template or step that declares it.
    """
    own = name or kind.value
    match scope:
        case LimitScope.NAMESPACE:
            return own
        case LimitScope.TEMPLATE:
            return f"{template}/{own}"
        case LimitScope.STEP:
            return f"{template}/{step}/{own}"
        case LimitScope.CONTEXT if name is not None:
            return f"{name}[{field}]"
        case LimitScope.CONTEXT:
            return f"{template if step is None else f'{template}/{step}'}[{field}]/{kind.value}"


def planned_limits(template: TaskTemplate, step: StepTemplate) -> tuple[PlannedLimit, ...]:
    """Collect the limits of a step: its template's, then its own."""
    return (
        *(_planned(limit, template.name, step.name, for_all=True) for limit in template.limits),
        *(_planned(limit, template.name, step.name, for_all=False) for limit in step.limits),
    )


def _planned(limit: LimitSpec, template: str, step: str, *, for_all: bool) -> PlannedLimit:
    kind = LimitKind.RATE if limit.max_concurrent is None else LimitKind.CONCURRENCY
    shared = for_all and limit.scope is LimitScope.CONTEXT
    return PlannedLimit(
        scope=limit.scope.value,
        name=limit_name(
            limit.scope,
            kind,
            name=limit.name,
            field=limit.field,
            template=template,
            step=None if shared else step,
        ),
        kind=kind.value,
        field=None if limit.field is None else tuple(limit.field.split(".")),
        max_concurrent=limit.max_concurrent,
        rate=limit.rate,
        period_seconds=limit.period_seconds,
    )
