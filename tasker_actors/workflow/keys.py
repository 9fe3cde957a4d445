"""Settles the keys of a template file: other names become the one name, unknown keys are reported and left out.

This comes before environments are merged, or `limit` in an override would not meet `max_attempts` in its step.
"""

from __future__ import annotations

from typing import Any, get_args

from tasker_actors.workflow.faults import FaultCollector, Path
from tasker_actors.workflow.template import TemplateModel


def settle_keys(model: type[TemplateModel], raw: Any, path: Path, faults: FaultCollector) -> Any:
    """Return a copy of a mapping with the keys that its model knows, and the same for all mappings inside it.

    An unknown key is a warning with the nearest known one; a key there under two names is an error, and the first
    counts. What is no mapping is returned as it is, for the model to refuse.
    """
    if not isinstance(raw, dict):
        return raw
    known = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    settled: dict[str, Any] = {}
    for key, value in raw.items():
        name = model.other_names.get(key, key)
        if name not in known:
            faults.warning((*path, key), "unknown key", meant=(key, [*known, *model.other_names]))
        elif name in settled:
            faults.error((*path, key), f"{name} is given under two names: keep one of them")
        else:
            settled[name] = _settle_value(known[name], value, (*path, key), faults)
    return settled


def _settle_value(annotation: Any, value: Any, path: Path, faults: FaultCollector) -> Any:
    model = _model_in(annotation)
    if model is None:
        return value
    if isinstance(value, list):
        return [settle_keys(model, item, (*path, index), faults) for index, item in enumerate(value)]
    return settle_keys(model, value, path, faults)


def _model_in(annotation: Any) -> type[TemplateModel] | None:
    """Find the model in `Model`, `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, TemplateModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)
