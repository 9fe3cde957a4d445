"""The graph of a template's steps: order, cycles, who waits for whom.

A graph maps each step's name to the names it depends on. The order of the mapping is the order of the file and breaks
every tie, so that results are the same in every process. Dependencies that are no key of the graph are left out of
account: naming them is `rules.py`'s job. Nothing here recurses, so a long chain is no danger to the stack.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasker_actors.workflow.batch_strategy import failure_strategy
from tasker_actors.workflow.conditional import Branch, Fate, initial_fates
from tasker_actors.workflow.limits import PlannedLimit, planned_limits
from tasker_actors.workflow.step_type import FailureStrategy, StepType

if TYPE_CHECKING:
    from tasker_actors.workflow.template import TaskTemplate

Graph = Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step as the database needs it: its neighbours by position, so that one array of numbers says it all.

    Positions count from 1 in topological order: every dependency has a smaller one. `ancestors` and `descendants` are
    transitive and ascend like the others. `timeout_seconds` is None where the worker's setting holds.

    `conditional` steps may not exist in a task: a decision or a batch says so. `tolerates_failure` and
    `cancels_siblings` are what a failed instance of a batch worker means, and `gathers` the batch workers among the
    dependencies, None where there is none.
    """

    position: int
    name: str
    dependencies: tuple[int, ...]
    successors: tuple[int, ...]
    ancestors: tuple[int, ...]
    descendants: tuple[int, ...]
    max_attempts: int
    retryable: bool
    timeout_seconds: float | None
    kind: str = StepType.STANDARD
    conditional: bool = False
    tolerates_failure: bool = False
    cancels_siblings: bool = False
    gathers: tuple[int, ...] | None = None
    limits: tuple[PlannedLimit, ...] = ()


def successors(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Turn the graph round: for each step, the steps that depend on it, in file order."""
    found: dict[str, list[str]] = {name: [] for name in graph}
    for name, dependencies in graph.items():
        for needed in dict.fromkeys(dependencies):
            if needed in found:
                found[needed].append(name)
    return {name: tuple(names) for name, names in found.items()}


def topological_order(graph: Graph) -> tuple[str, ...]:
    """Order the steps so that each comes after its dependencies, and otherwise as in the file.

    Raises ValueError, naming a cycle, where there is no such order.
    """
    order = _peel(graph)
    if len(order) < len(graph):
        raise ValueError(f"steps depend on each other in a circle: {' -> '.join(find_cycle(graph) or ())}")
    return order


def find_cycle(graph: Graph) -> tuple[str, ...] | None:
    """Find a cycle and return it as it would be walked, its first step again at the end, or None."""
    return next(find_cycles(graph), None)


def find_cycles(graph: Graph) -> Iterator[tuple[str, ...]]:
    """Yield cycles that share no step, until breaking each of them would leave an order."""
    left = {name: tuple(dependencies) for name, dependencies in graph.items()}
    while len(done := set(_peel(left))) < len(left):
        left = {name: dependencies for name, dependencies in left.items() if name not in done}
        cycle = _walk_into_cycle(left)
        yield cycle
        for name in cycle[:-1]:
            del left[name]


def ancestors(graph: Graph) -> dict[str, frozenset[str]]:
    """Collect, for each step, everything it depends on, directly or not. Raises ValueError for a cycle."""
    found: dict[str, frozenset[str]] = {}
    for name in topological_order(graph):
        direct = [needed for needed in graph[name] if needed in graph]
        found[name] = frozenset(direct).union(*(found[needed] for needed in direct))
    return found


def descendants(graph: Graph) -> dict[str, frozenset[str]]:
    """Collect, for each step, everything that depends on it, directly or not. Raises ValueError for a cycle."""
    return ancestors(successors(graph))


def plan(template: TaskTemplate) -> tuple[PlannedStep, ...]:
    """Lay a template's steps out in topological order for registration in the database."""
    steps = {step.name: step for step in template.steps}
    graph = {name: step.dependencies for name, step in steps.items()}
    order = topological_order(graph)
    position = {name: number for number, name in enumerate(order, start=1)}
    after, above, below = successors(graph), ancestors(graph), descendants(graph)
    fates = initial_fates({name: Branch(steps[name].type, graph[name]) for name in order})
    workers = [name for name in order if steps[name].type is StepType.BATCH_WORKER]

    def numbers(names: Collection[str]) -> tuple[int, ...]:
        return tuple(sorted(position[name] for name in names))

    return tuple(
        PlannedStep(
            position=position[name],
            name=name,
            dependencies=numbers(graph[name]),
            successors=numbers(after[name]),
            ancestors=numbers(above[name]),
            descendants=numbers(below[name]),
            max_attempts=steps[name].retry_policy.max_attempts,
            retryable=steps[name].retry_policy.retryable,
            timeout_seconds=steps[name].timeout_seconds,
            kind=steps[name].type.value,
            conditional=fates[name] is Fate.UNDECIDED,
            tolerates_failure=failure_strategy(steps, name) is FailureStrategy.CONTINUE_ON_FAILURE,
            cancels_siblings=failure_strategy(steps, name) is FailureStrategy.FAIL_FAST,
            gathers=numbers([needed for needed in graph[name] if needed in workers]) or None,
            limits=planned_limits(template, steps[name]),
        )
        for name in order
    )


def _peel(graph: Graph) -> tuple[str, ...]:
    """Take off steps whose dependencies are all taken off (Kahn 1962), the earliest of the file first."""
    names = list(graph)
    rank = {name: number for number, name in enumerate(names)}
    missing = {name: len({needed for needed in needs if needed in rank}) for name, needs in graph.items()}
    after = successors(graph)
    free = [rank[name] for name, count in missing.items() if count == 0]
    order: list[str] = []
    while free:
        name = names[heapq.heappop(free)]
        order.append(name)
        for following in after[name]:
            missing[following] -= 1
            if missing[following] == 0:
                heapq.heappush(free, rank[following])
    return tuple(order)


def _walk_into_cycle(graph: Graph) -> tuple[str, ...]:
    """Follow dependencies until a step comes up twice. Every step of this graph must have one inside it."""
    walked: dict[str, int] = {}
    name = next(iter(graph))
    while name not in walked:
        walked[name] = len(walked)
        name = next(needed for needed in graph[name] if needed in graph)
    path = list(walked)[walked[name] :]
    return (*path, name)
