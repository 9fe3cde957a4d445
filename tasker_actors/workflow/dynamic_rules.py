"""What must hold between the dynamic steps of a template, so that a task never waits for what cannot come.

Like `rules.py` it works on the document; whatever has the wrong type is passed over, because the models report it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasker_actors.workflow.dag import ancestors, topological_order
from tasker_actors.workflow.faults import FaultCollector, Path
from tasker_actors.workflow.step_type import StepType

_NUMBERED = re.compile(r"(?P<worker>.+)_\d{3,}")


@dataclass(frozen=True, slots=True)
class _Graph:
    """The steps of a document without cycles, by name."""

    places: Mapping[str, int]
    kinds: Mapping[str, str]
    needs: Mapping[str, Collection[str]]
    above: Mapping[str, frozenset[str]]

    def needed(self, name: str, kind: StepType) -> list[str]:
        """Return the direct dependencies of a type."""
        return [needed for needed in self.needs[name] if self.kinds.get(needed) == kind]


def check_dynamic_rules(
    steps: list[tuple[int, dict[str, Any]]],
    graph: Mapping[str, Collection[str]],
    faults: FaultCollector,
    *,
    max_depth: int,
) -> None:
    """Report what is wrong with decisions, convergences and batches; `graph` has no cycle and no unknown name."""
    places = {step["name"]: index for index, step in reversed(steps) if isinstance(step.get("name"), str)}
    kinds = {
        step["name"]: str(step.get("type") or StepType.STANDARD) for _, step in steps if step.get("name") in places
    }
    if set(kinds.values()) <= {StepType.STANDARD}:
        return
    known = _Graph(places, kinds, graph, ancestors(graph))
    for name, kind in kinds.items():
        path = ("steps", places[name])
        match kind:
            case StepType.DEFERRED_CONVERGENCE:
                _check_convergence(name, known, path, faults)
            case StepType.BATCHABLE:
                _check_batchable(name, known, path, faults)
            case StepType.BATCH_WORKER:
                _check_worker(name, known, path, faults)
            case _:
                pass
        _check_name(name, known, path, faults)
    _check_depth(known, faults, max_depth)
    for index, step in steps:
        _check_worker_template(index, step, known, faults)


def _check_convergence(name: str, known: _Graph, path: Path, faults: FaultCollector) -> None:
    if not any(known.kinds[above] in (StepType.DECISION, StepType.BATCH_WORKER) for above in known.above[name]):
        message = (
            "a deferred_convergence comes below a decision or a batch_worker; all that this one depends on always"
            " exists, so make it standard"
        )
        faults.error((*path, "type"), message)


def _check_batchable(name: str, known: _Graph, path: Path, faults: FaultCollector) -> None:
    workers = [other for other, kind in known.kinds.items() if kind == StepType.BATCH_WORKER]
    if not any(name in known.needs[worker] for worker in workers):
        faults.error(
            (*path, "type"), "no batch_worker depends on this batchable step, so nothing could run its batches"
        )


def _check_worker(name: str, known: _Graph, path: Path, faults: FaultCollector) -> None:
    divides = known.needed(name, StepType.BATCHABLE)
    place = (*path, "dependencies")
    if len(divides) != 1:
        others = [other for other, kind in known.kinds.items() if kind == StepType.BATCHABLE]
        found = f"it depends on {', '.join(divides)}" if divides else f"known ones are {', '.join(others) or 'none'}"
        faults.error(place, f"a batch_worker depends on exactly one batchable step; {found}")
        return
    for needed in known.needs[name]:
        if needed != divides[0] and needed not in known.above[divides[0]]:
            message = (
                f"a batch_worker depends on its batchable step and on what that depends on: {needed!r} is not above"
                f" {divides[0]!r}"
            )
            faults.error(place, message)


def _check_name(name: str, known: _Graph, path: Path, faults: FaultCollector) -> None:
    numbered = _NUMBERED.fullmatch(name)
    if numbered and known.kinds.get(numbered["worker"]) == StepType.BATCH_WORKER:
        faults.error((*path, "name"), f"{name!r} is how an instance of batch_worker {numbered['worker']!r} is named")


def _check_depth(known: _Graph, faults: FaultCollector, max_depth: int) -> None:
    depth: dict[str, int] = {}
    for name in topological_order(known.needs):
        above = max((depth[needed] for needed in known.needs[name]), default=0)
        depth[name] = above + (known.kinds[name] == StepType.DECISION)
        if depth[name] > max_depth >= above and known.kinds[name] == StepType.DECISION:
            message = f"this is decision number {depth[name]} on one way through the graph; decisions.max_depth is"
            faults.error(("steps", known.places[name], "type"), f"{message} {max_depth}")


def _check_worker_template(index: int, step: dict[str, Any], known: _Graph, faults: FaultCollector) -> None:
    config = step.get("batch_config")
    worker = config.get("worker_template") if isinstance(config, dict) else None
    if not isinstance(worker, str) or known.kinds.get(worker) == StepType.BATCH_WORKER:
        return
    workers = list(_of_kind(known, StepType.BATCH_WORKER))
    if worker in known.kinds:
        faults.error(("steps", index, "batch_config", "worker_template"), f"{worker!r} is no batch_worker")
    else:
        message = f"there is no batch_worker {worker!r}"
        faults.error(("steps", index, "batch_config", "worker_template"), message, meant=(worker, workers))


def _of_kind(known: _Graph, kind: StepType) -> Iterator[str]:
    return (name for name, found in known.kinds.items() if found == kind)
