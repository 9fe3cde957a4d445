"""A template as it stands in the database."""

from __future__ import annotations

from dataclasses import dataclass

from tasker_actors.workflow.dag import PlannedStep
from tasker_actors.workflow.template import TaskTemplate


@dataclass(frozen=True, slots=True)
class RegisteredTemplate:
    """One content of one version, under the number by which tasks refer to it."""

    template_id: int
    template: TaskTemplate
    plan: tuple[PlannedStep, ...]
