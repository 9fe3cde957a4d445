"""What a success means beyond its result: a checkpoint to go on from, the steps that a decision or a batch makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from tasker_actors.events.codec import PayloadError, check_size
from tasker_actors.identifiers import new_uuid7
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.workflow.batches import Batches
from tasker_actors.workflow.checkpoint import INVALID_CHECKPOINT, YIELDED, next_checkpoint
from tasker_actors.workflow.outcome_fault import OutcomeFault
from tasker_actors.workflow.states import StepState


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The state that a success comes to, and what goes with it into the commit: JSON by the key of the document."""

    state: str = StepState.COMPLETE
    documents: Mapping[str, bytes] = field(default_factory=dict)


_NOTHING = FollowUp()


def follow_up(step: LeasedStep, result: bytes, new_id: Callable[[], str] = new_uuid7) -> FollowUp:
    """Read what a result says about other steps, new ones named by `new_id`; OutcomeFault if it cannot be followed."""
    dynamic, limits = step.plan.dynamic, step.plan.limits
    if dynamic.decision is not None:
        omitted = dynamic.decision.omits(orjson.loads(result), max_steps=limits.max_steps)
        return FollowUp(documents={"omits": _positions(step, omitted)})
    if dynamic.batches is not None:
        batches = dynamic.batches.batches(orjson.loads(result), max_workers=limits.max_workers)
        return FollowUp(documents={"omits": _positions(step, batches.omitted), "batch": _batch(step, batches, new_id)})
    return _NOTHING


def checkpoint(step: LeasedStep, result: bytes, now: datetime) -> FollowUp:
    """Read the checkpoint that a handler asks to go on from; OutcomeFault for one that cannot be stored."""
    limits = step.plan.limits
    place = f"step {step.name!r} of template {step.plan.namespace}/{step.plan.task_type}"
    document = orjson.dumps(
        next_checkpoint(
            orjson.loads(result), step.checkpoint, place=place, moment=now, max_history=limits.max_checkpoint_history
        )
    )
    try:
        check_size(document, limits.max_checkpoint_bytes)
    except PayloadError as error:
        message = f"{error} (batches.max_checkpoint_bytes)".replace("payload", "the checkpoint", 1)
        raise OutcomeFault(INVALID_CHECKPOINT, place, "result", message) from error
    return FollowUp(YIELDED, {"checkpoint": document})


def _positions(step: LeasedStep, names: tuple[str, ...]) -> bytes:
    return orjson.dumps([step.plan.positions[name] for name in names])


def _batch(step: LeasedStep, batches: Batches, new_id: Callable[[], str]) -> bytes:
    document: dict[str, Any]
    if batches.worker is None:
        document = {
            "placeholders": [
                {"position": step.plan.positions[name], "inputs": inputs}
                for name, inputs in batches.placeholders.items()
            ]
        }
    else:
        document = {
            "worker": step.plan.positions[batches.worker],
            "instances": [{"step_uuid": new_id(), "name": one.name, "inputs": one.inputs} for one in batches.instances],
        }
    return orjson.dumps(document)
