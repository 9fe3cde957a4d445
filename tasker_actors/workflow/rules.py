"""What must hold between the values of a template: unique names, known dependencies, no cycle, usable schemas.

Works on the document with settled keys and merged environment, not on the models, so that these faults are reported
beside those of single values. Whatever has the wrong type is passed over: the models report it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tasker_actors.events.declaration import DeliveryMode, EventCondition
from tasker_actors.workflow.dag import find_cycles
from tasker_actors.workflow.dynamic_limits import DEFAULT_MAX_DEPTH
from tasker_actors.workflow.dynamic_rules import check_dynamic_rules
from tasker_actors.workflow.faults import FaultCollector, Path
from tasker_actors.workflow.json_schema import schema_faults
from tasker_actors.workflow.limit_rules import check_limits
from tasker_actors.workflow.template import MAX_STEPS

_DECLARATION_DEFAULTS = {
    "condition": EventCondition.SUCCESS.value,
    "delivery_mode": DeliveryMode.DURABLE.value,
    "publisher": "default",
}


def check_rules(
    document: Mapping[str, Any], faults: FaultCollector, *, max_decision_depth: int = DEFAULT_MAX_DEPTH
) -> None:
    """Report everything that is wrong between the values of one document."""
    _check_schema(document.get("input_schema"), ("input_schema",), faults)
    _check_domain_events(document, faults)
    steps = list(_mappings(document, "steps"))
    for index, step in steps:
        path = ("steps", index)
        _check_schema(step.get("result_schema"), (*path, "result_schema"), faults)
        _check_backoff(step.get("retry"), (*path, "retry"), faults)
        _check_declarations(step, path, faults)
        _note_no_effect(step, path, faults)
    check_limits(document, steps, faults)
    _check_names(steps, faults)
    # Graphs above the limit are refused by the model; comparing all their names would take too long.
    if len(steps) <= MAX_STEPS:
        _check_graph(steps, faults, max_decision_depth)


def _check_names(steps: list[tuple[int, dict[str, Any]]], faults: FaultCollector) -> None:
    first: dict[str, int] = {}
    for index, step in steps:
        name = step.get("name")
        if not isinstance(name, str):
            continue
        if name in first:
            faults.error(("steps", index, "name"), f"{name!r} is the name of steps[{first[name]}] too")
        first.setdefault(name, index)


def _check_graph(steps: list[tuple[int, dict[str, Any]]], faults: FaultCollector, max_decision_depth: int) -> None:
    named = {step["name"]: (index, step) for index, step in reversed(steps) if isinstance(step.get("name"), str)}
    graph: dict[str, list[str]] = {}
    for index, step in steps:
        name = step.get("name")
        sound = list(_sound_dependencies(name, step, index, named, faults))
        if isinstance(name, str):
            graph.setdefault(name, sound)
    cycles = list(find_cycles(graph))
    if not cycles:
        check_dynamic_rules(steps, graph, faults, max_depth=max_decision_depth)
    for cycle in cycles:
        index = named[cycle[0]][0]
        faults.error(("steps", index, "dependencies"), f"the steps wait for each other: {' -> '.join(cycle)}")


def _sound_dependencies(
    name: Any, step: dict[str, Any], index: int, named: Mapping[str, Any], faults: FaultCollector
) -> Iterator[str]:
    """Yield the dependencies that may be edges of the graph, and report the others."""
    dependencies = step.get("dependencies")
    seen: set[str] = set()
    for place, needed in enumerate(dependencies if isinstance(dependencies, list) else ()):
        path = ("steps", index, "dependencies", place)
        if not isinstance(needed, str):
            continue
        if needed in seen:
            faults.error(path, f"{needed!r} is listed twice")
        elif needed == name:
            faults.error(path, "the step depends on itself")
        elif needed not in named:
            faults.error(path, f"there is no step {needed!r}", meant=(needed, named))
        else:
            yield needed
        seen.add(needed)


def _check_backoff(retry: Any, path: Path, faults: FaultCollector) -> None:
    if not isinstance(retry, dict):
        return
    base, limit = retry.get("backoff_base_ms"), retry.get("max_backoff_ms")
    if isinstance(base, int) and isinstance(limit, int) and base > limit:
        faults.error((*path, "backoff_base_ms"), f"{base} is more than max_backoff_ms, which is {limit}")


def _note_no_effect(step: dict[str, Any], path: Path, faults: FaultCollector) -> None:
    """Note keys that look like a bound and are none: their author counts on what nobody does."""
    config = step.get("batch_config")
    if isinstance(config, dict) and config.get("parallelism") is not None:
        message = "has no effect: say in limits of the batch_worker how many of its instances run at once"
        faults.notice((*path, "batch_config", "parallelism"), message)
    if step.get("lifecycle") is not None:
        message = "has no effect on a step: only the template's own lifecycle counts, and timeout_seconds of a step"
        faults.notice((*path, "lifecycle"), message)


def _check_declarations(step: dict[str, Any], path: Path, faults: FaultCollector) -> None:
    first: dict[tuple[Any, ...], int] = {}
    for index, declaration in _mappings(step, "publishes_events"):
        place = (*path, "publishes_events", index)
        _check_schema(declaration.get("schema"), (*place, "schema"), faults)
        told_apart = [declaration.get(key) or default for key, default in _DECLARATION_DEFAULTS.items()]
        identity = (declaration.get("name"), *told_apart)
        if not all(isinstance(part, str) for part in identity):
            continue
        if identity in first:
            message = f"{identity[0]!r} is declared the same way in publishes_events[{first[identity]}]"
            faults.error(place, f"{message}, and would be published twice")
        first.setdefault(identity, index)


def _check_domain_events(document: Mapping[str, Any], faults: FaultCollector) -> None:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, event in _mappings(document, "domain_events"):
        _check_schema(event.get("schema"), ("domain_events", index, "schema"), faults)
        if isinstance(event.get("name"), str):
            places[event["name"]].append(index)
    for name, (first, *others) in places.items():
        for index in others:
            faults.error(("domain_events", index, "name"), f"{name!r} is the name of domain_events[{first}] too")


def _check_schema(schema: Any, path: Path, faults: FaultCollector) -> None:
    if isinstance(schema, dict):
        for inside, message in schema_faults(schema):
            faults.error((*path, *inside), f"is no valid JSON Schema: {message}")


def _mappings(parent: Mapping[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    items = parent.get(key)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield index, item
