"""What a success means beyond its result: a checkpoint to go on from, the steps that a decision or a batch makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Any

import orjson

from tasker_actors.identifiers import new_uuid7
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.task_starter import StartedTask
from tasker_actors.values import value
from tasker_actors.workflow.batches import INVALID_BATCHES, Batches
from tasker_actors.workflow.checkpoint import INVALID_CHECKPOINT, YIELDED, next_checkpoint
from tasker_actors.workflow.decision import INVALID_DECISION
from tasker_actors.workflow.dynamic import DynamicStep
from tasker_actors.workflow.dynamic_limits import DynamicLimits
from tasker_actors.workflow.outcome_fault import read_result, write_json
from tasker_actors.workflow.states import StepState
from tasker_actors.workflow.waiting import INVALID_WAIT, awaited_tasks


@value()
class FollowUp:
    """The state that a success comes to, and what goes with it into the commit: JSON by the key of the document.

    `awaited` are the ids of the tasks that its step waits for.
    """

    state: str = StepState.COMPLETE
    documents: Mapping[str, bytes] = field(default_factory=dict)
    awaited: tuple[str, ...] = ()

    def with_tasks(self, started: Sequence[StartedTask]) -> FollowUp:
        """Add the tasks that the handler has started."""
        if not started:
            return self
        starts = b"[" + b",".join(task.encode() for task in started) + b"]"
        return replace(self, documents={**self.documents, "starts": starts})


_NOTHING = FollowUp()


def follow_up(step: LeasedStep, result: bytes, new_id: Callable[[], str] = new_uuid7) -> FollowUp:
    """Read what a result says about other steps, new ones named by `new_id`; OutcomeFault if it cannot be followed."""
    documents = outcome_documents(step.plan.dynamic, step.plan.positions, step.plan.limits, result, new_id)
    return FollowUp(documents=documents) if documents else _NOTHING


def outcome_documents(
    dynamic: DynamicStep,
    positions: Mapping[str, int],
    limits: DynamicLimits,
    result: bytes,
    new_id: Callable[[], str] = new_uuid7,
) -> dict[str, bytes]:
    """Say in the keys of a commit what a result means for other steps, whoever gave it; empty for most steps.

    New steps are named by `new_id`. OutcomeFault where it cannot be followed.
    """
    if (decision := dynamic.decision) is not None:
        said = read_result(result, INVALID_DECISION, decision.place)
        return {"omits": _positions(positions, decision.omits(said, max_steps=limits.max_steps))}
    if (point := dynamic.batches) is not None:
        said = read_result(result, INVALID_BATCHES, point.place)
        batches = point.batches(said, max_workers=limits.max_workers)
        batch = write_json(_batch(positions, batches, new_id), INVALID_BATCHES, point.place)
        return {"omits": _positions(positions, batches.omitted), "batch": batch}
    return {}


def checkpoint(step: LeasedStep, result: bytes, now: datetime) -> FollowUp:
    """Read the checkpoint that a handler asks to go on from; OutcomeFault for one that cannot be stored."""
    return FollowUp(YIELDED, {"checkpoint": _checkpoint(step, _said(step, result, INVALID_CHECKPOINT), now)})


def wait(step: LeasedStep, result: bytes, now: datetime) -> FollowUp:
    """Read which tasks a handler waits for; OutcomeFault for what cannot be waited for."""
    said = _said(step, result, INVALID_WAIT)
    awaited = awaited_tasks(said, place=_place(step), max_tasks=step.plan.limits.max_tasks)
    documents: dict[str, bytes] = {"waits": orjson.dumps(awaited)}
    if "checkpoint" in said:
        documents["checkpoint"] = _checkpoint(step, said["checkpoint"], now)
    return FollowUp(YIELDED, documents, awaited)


def _said(step: LeasedStep, result: bytes, error_type: str) -> Any:
    return read_result(result, error_type, _place(step))


def _checkpoint(step: LeasedStep, said: Any, now: datetime) -> bytes:
    limits = step.plan.limits
    return next_checkpoint(
        said,
        step.checkpoint,
        place=_place(step),
        moment=now,
        max_history=limits.max_checkpoint_history,
        max_bytes=limits.max_checkpoint_bytes,
    )


def _place(step: LeasedStep) -> str:
    return f"step {step.name!r} of template {step.plan.namespace}/{step.plan.task_type}"


def _positions(positions: Mapping[str, int], names: tuple[str, ...]) -> bytes:
    return orjson.dumps([positions[name] for name in names])


def _batch(positions: Mapping[str, int], batches: Batches, new_id: Callable[[], str]) -> dict[str, Any]:
    if batches.worker is None:
        return {
            "placeholders": [
                {"position": positions[name], "inputs": inputs} for name, inputs in batches.placeholders.items()
            ]
        }
    return {
        "worker": positions[batches.worker],
        "instances": [{"step_uuid": new_id(), "name": one.name, "inputs": one.inputs} for one in batches.instances],
    }
