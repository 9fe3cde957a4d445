"""What a batchable step may answer, and the instances of a batch worker that follow from it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasker_actors.workflow.cursor_order import in_order, is_after
from tasker_actors.workflow.nearest import hint
from tasker_actors.workflow.outcome_fault import OutcomePart, shown
from tasker_actors.workflow.template import BatchConfig

BATCHES_KEY = "batch_processing_outcome"
INVALID_BATCHES = "invalid_batches"
CREATE_BATCHES = "create_batches"
NO_BATCHES = "no_batches"
_NO_RANGE = {"batch_id": "no_op", "start_cursor": 0, "end_cursor": 0, "batch_size": 0}


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a batch worker: its step's name and what it gets as `context.step_inputs`."""

    name: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batches:
    """What a batchable step chose: the instances of one worker, or none and a placeholder for each worker.

    `omitted` are the workers that it did not choose.
    """

    worker: str | None
    instances: tuple[Instance, ...]
    placeholders: Mapping[str, dict[str, Any]]
    omitted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchPoint:
    """A batchable step of a template; `workers` are the batch workers that depend on it, with their configuration."""

    template: str
    step: str
    workers: Mapping[str, BatchConfig | None]

    @property
    def place(self) -> str:
        """How messages name it."""
        return f"batchable step {self.step!r} of template {self.template}"

    def batches(self, result: Any, *, max_workers: int) -> Batches:
        """Read a result; OutcomeFault where it cannot be followed.

        A range is refused that is empty or shares a part with another, as far as the order of cursors is known: see
        `in_order`. Of free-form cursors only a range that ends where it begins is.
        """
        said = OutcomePart(result, INVALID_BATCHES, self.place, "result").get(BATCHES_KEY)
        outcome = OutcomePart(said, INVALID_BATCHES, self.place, BATCHES_KEY)
        if outcome.choice("type", (CREATE_BATCHES, NO_BATCHES)) == NO_BATCHES:
            placeholders = {
                name: {"cursor": dict(_NO_RANGE), "batch_metadata": _metadata(config), "is_no_op": True}
                for name, config in self.workers.items()
            }
            return Batches(None, (), placeholders, ())
        worker = outcome.get("worker_template_name")
        if not isinstance(worker, str) or worker not in self.workers:
            nearest = hint(worker, self.workers) if isinstance(worker, str) else ""
            known = ", ".join(self.workers)
            message = f"no batch_worker {shown(worker)} depends on this step, but {known}{nearest}"
            raise outcome.fault("worker_template_name", message)
        configs = _ranges(outcome, max_workers)
        metadata = _metadata(self.workers[worker])
        instances = tuple(
            Instance(instance_name(worker, number), {"cursor": one, "batch_metadata": metadata, "is_no_op": False})
            for number, one in enumerate(configs, start=1)
        )
        return Batches(worker, instances, {}, tuple(name for name in self.workers if name != worker))


def instance_name(worker: str, number: int) -> str:
    """Name an instance of a batch worker, counted from 1."""
    return f"{worker}_{number:03d}"


def _metadata(config: BatchConfig | None) -> dict[str, Any]:
    known = config or BatchConfig(worker_template="-")
    return {
        "checkpoint_interval": known.batch_size,
        "cursor_field": known.cursor_field,
        "failure_strategy": known.failure_strategy.value,
    }


def _ranges(outcome: OutcomePart, max_workers: int) -> list[dict[str, Any]]:
    configs = outcome.list("cursor_configs")
    count = outcome.count("worker_count", least=1)
    if count != len(configs):
        raise outcome.fault("worker_count", f"is {count}, but there are {len(configs)} cursor_configs")
    if count > max_workers:
        raise outcome.fault("worker_count", f"is {count}; batches.max_workers is {max_workers}")
    if outcome.has("total_items"):
        outcome.count("total_items")
    seen: dict[str, int] = {}
    for index, config in enumerate(configs):
        _check_config(outcome, config, f"cursor_configs[{index}]", seen, index)
    _check_ranges(outcome, [(config["start_cursor"], config["end_cursor"]) for config in configs])
    return configs


def _check_config(outcome: OutcomePart, config: Any, key: str, seen: dict[str, int], index: int) -> None:
    if not isinstance(config, dict):
        raise outcome.fault(key, f"must be a mapping, not {shown(config)}")
    for needed in ("batch_id", "start_cursor", "end_cursor"):
        if config.get(needed) is None:
            raise outcome.fault(f"{key}.{needed}", f"is missing{hint(needed, map(str, config))}")
    batch_id, size = config["batch_id"], config.get("batch_size")
    if isinstance(batch_id, bool) or not isinstance(batch_id, str | int):
        raise outcome.fault(f"{key}.batch_id", f"must be text, not {shown(batch_id)}")
    if (first := seen.setdefault(str(batch_id), index)) != index:
        raise outcome.fault(f"{key}.batch_id", f"{batch_id!r} is that of cursor_configs[{first}] too")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise outcome.fault(f"{key}.batch_size", f"must be a whole number of at least 1, not {shown(size)}")


def _check_ranges(outcome: OutcomePart, ranges: Sequence[tuple[Any, Any]]) -> None:
    keys = in_order(list(itertools.chain.from_iterable(ranges)))
    compared = None if keys is None else list(zip(keys[::2], keys[1::2], strict=True))
    for index, (start, end) in enumerate(ranges):
        is_empty = is_after(start, end) if compared is None else compared[index][0] >= compared[index][1]
        if start == end or is_empty:
            message = f"the range from {shown(start)} to {shown(end)} is empty: its end is exclusive"
            raise outcome.fault(f"cursor_configs[{index}]", message)
    if compared is None:
        return
    for before, after in itertools.pairwise(sorted(range(len(ranges)), key=compared.__getitem__)):
        if compared[after][0] < compared[before][1]:
            raise outcome.fault(f"cursor_configs[{after}]", f"its range overlaps that of cursor_configs[{before}]")
