"""What a test gives a task or a step, as JSON like everything that comes out of the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.testing.errors import ContextRefusedError, KitError
from tasker_actors.workflow.input_schema import validate_context
from tasker_actors.workflow.template import TaskTemplate


def checked_context(template: TaskTemplate, context: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a context as the task gets it; ContextRefusedError where the API would refuse it."""
    plain = plain_json("context", context)
    faults = validate_context(template.input_schema, plain)
    if faults:
        said = "; ".join(f"{fault.path or 'the context'} {fault.message}" for fault in faults)
        raise ContextRefusedError(f"{template.name} refuses the context: {said}")
    return plain


def plain_json(what: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what a test gives through JSON, as a task would get it."""
    try:
        plain: dict[str, Any] = orjson.loads(encode_payload(dict(value)))
    except PayloadError as error:
        raise KitError(f"{what} is no JSON: {error}") from error
    return plain
