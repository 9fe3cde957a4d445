"""Merges what a template's file says about one environment into its steps (SPEC 5, `environments`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from tasker_actors.workflow.faults import FaultCollector, Path
from tasker_actors.workflow.keys import settle_keys
from tasker_actors.workflow.template import StepTemplate
from tasker_actors.workflow.texts import ALL_STEPS

MAX_ENVIRONMENTS = 64
"""Each is merged and checked when a file is loaded."""

Overrides = Sequence[Mapping[str, Any]]


def read_environments(document: Mapping[str, Any], faults: FaultCollector) -> dict[str, Overrides]:
    """Collect the usable overrides of each environment of a document with settled keys, and report the others."""
    environments = document.get("environments")
    if environments is None:
        return {}
    if not isinstance(environments, dict):
        faults.error(("environments",), "must be a mapping of environments to their overrides")
        return {}
    steps = document.get("steps")
    step_names = {
        step["name"]: None
        for step in (steps if isinstance(steps, list) else ())
        if isinstance(step, dict) and isinstance(step.get("name"), str)
    }
    if len(environments) > MAX_ENVIRONMENTS:
        faults.error(("environments",), f"must have at most {MAX_ENVIRONMENTS} entries, not {len(environments)}")
    return {
        name: _read_environment(content, ("environments", name), list(step_names), faults)
        for name, content in islice(environments.items(), MAX_ENVIRONMENTS)
    }


def for_environment(document: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Return the document as it is with these overrides: those for ALL first, then those for a step's own name."""
    steps = document.get("steps")
    if not isinstance(steps, list):
        return dict(document)
    general = [override for override in overrides if override["name"] == ALL_STEPS]
    own = {override["name"]: override for override in overrides}
    return {**document, "steps": [_override_step(step, general, own) for step in steps]}


def merge(base: Any, override: Any) -> Any:
    """Lay one JSON value over another: mappings key by key and all the way down, anything else in whole."""
    if not isinstance(base, dict) or not isinstance(override, dict):
        return override
    merged = dict(base)
    for key, value in override.items():
        merged[key] = merge(base[key], value) if key in base else value
    return merged


def _override_step(step: Any, general: Overrides, own: Mapping[str, Mapping[str, Any]]) -> Any:
    if not isinstance(step, dict):
        return step
    name = step.get("name")
    applying = [*general, own[name]] if isinstance(name, str) and name in own and name != ALL_STEPS else general
    for override in applying:
        # The override's name says which step is meant, and must not become that of a step that ALL stands for.
        step = merge(step, {key: value for key, value in override.items() if key != "name"})
    return step


def _read_environment(content: Any, path: Path, step_names: list[str], faults: FaultCollector) -> Overrides:
    if content is None:
        return ()
    if not isinstance(content, dict):
        faults.error(path, "must be a mapping with the key steps")
        return ()
    for key in content:
        if key != "steps":
            faults.warning((*path, key), "unknown key", meant=(key, ["steps"]))
    steps = content.get("steps")
    if steps is None:
        return ()
    if not isinstance(steps, list):
        faults.error((*path, "steps"), "must be a list of overrides")
        return ()
    found: dict[str, Mapping[str, Any]] = {}
    for index, raw in enumerate(steps):
        override = _read_override(raw, (*path, "steps", index), step_names, faults)
        if override is None:
            continue
        if override["name"] in found:
            faults.error((*path, "steps", index, "name"), f"{override['name']!r} is overridden twice: join the two")
        else:
            found[override["name"]] = override
    return tuple(found.values())


def _read_override(raw: Any, path: Path, step_names: list[str], faults: FaultCollector) -> Mapping[str, Any] | None:
    if not isinstance(raw, dict):
        faults.error(path, "must be a mapping with a step's name and what to override")
        return None
    override = settle_keys(StepTemplate, raw, path, faults)
    name = override.get("name")
    if not isinstance(name, str):
        faults.error((*path, "name"), f"must be the name of a step, or {ALL_STEPS}")
        return None
    if name != ALL_STEPS and name not in step_names:
        known = [*step_names, ALL_STEPS]
        faults.error((*path, "name"), f"this template has no step {name!r}", meant=(name, known))
        return None
    settled: Mapping[str, Any] = override
    return settled
