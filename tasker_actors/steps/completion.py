"""Steps that a person brings to their end: what that means for the steps that they decide about."""

from __future__ import annotations

from typing import Any

import orjson

from tasker_actors.steps.follow_up import outcome_documents
from tasker_actors.workflow.batches import BATCHES_KEY, NO_BATCHES
from tasker_actors.workflow.dag import plan
from tasker_actors.workflow.decision import DECISION_KEY, NO_BRANCHES
from tasker_actors.workflow.dynamic import dynamic_steps
from tasker_actors.workflow.dynamic_limits import DynamicLimits
from tasker_actors.workflow.step_type import StepType
from tasker_actors.workflow.template import TaskTemplate

DECIDING = frozenset({StepType.DECISION, StepType.BATCHABLE})
"""Types of steps whose result says which other steps exist."""

_NOTHING_CHOSEN = orjson.dumps({DECISION_KEY: {"type": NO_BRANCHES}, BATCHES_KEY: {"type": NO_BATCHES}})


def completed_by_hand(template: TaskTemplate, step: str, result: bytes | None, limits: DynamicLimits) -> dict[str, Any]:
    """Return what a result means for other steps, as in the document of a commit; without one nothing is chosen.

    The same rules hold as for the result of a handler. Raises OutcomeFault where it cannot be followed.
    """
    positions = {one.name: one.position for one in plan(template)}
    documents = outcome_documents(
        dynamic_steps(template)[step], positions, limits, _NOTHING_CHOSEN if result is None else result
    )
    return {"dynamic": {key: orjson.Fragment(value) for key, value in documents.items()}} if documents else {}
