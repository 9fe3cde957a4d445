"""Event schemas: the first thing wrong with a payload (SPEC 2, rule 2)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from jsonschema import ValidationError
from jsonschema.exceptions import best_match

from tasker_actors.errors import ConfigurationError, TaskerError
from tasker_actors.events.json_faults import json_pointer
from tasker_actors.events.text import described, shortened, storable_text
from tasker_actors.workflow.json_schema import compile_schema, schema_faults

_CONSIDERED = 20
"""Faults looked at to find the most telling: a list of a million bad items must not cost a million faults."""

_MAX_MESSAGE_CHARACTERS = 500


class EventSchemaError(ConfigurationError):
    """An event's `schema` is no JSON Schema, or has a reference that leads out of it; the message says where."""


class SchemaViolationError(TaskerError):
    """A payload does not fit its event's schema; `message` and `path` (a JSON pointer) are storable and short."""

    def __init__(self, message: str, path: str) -> None:
        self.message = message
        self.path = path
        super().__init__(f"{path}: {message}" if path else message)


class SchemaValidator:
    """A compiled event schema; any thread may use it. Raises EventSchemaError for what is no schema.

    Dialect, references and formats are those of `workflow.json_schema`: 2020-12 unless `$schema` names another, nothing
    is fetched, and a format is an annotation.
    """

    __slots__ = ("_validator",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        for path, message in schema_faults(schema):
            raise EventSchemaError(f"schema{json_pointer(path)}: {shortened(storable_text(message), 500)}")
        self._validator = compile_schema(schema)

    def check(self, payload: Any) -> None:
        """Raise SchemaViolationError with the most telling fault of a payload, which must be plain JSON."""
        try:
            fault = best_match(islice(self._validator.iter_errors(payload), _CONSIDERED))
        except Exception as error:  # a recursion too deep, a number that `multipleOf` cannot divide
            raise SchemaViolationError(f"the schema cannot be applied: {described(error)}", "") from error
        if fault is not None:
            message = shortened(storable_text(fault.message), _MAX_MESSAGE_CHARACTERS)
            raise SchemaViolationError(message, json_pointer(_place(fault)))


def _place(fault: ValidationError) -> list[str | int]:
    """Give the path of a fault; a missing property is reported where it should be."""
    place = list(fault.absolute_path)
    if fault.validator == "required" and isinstance(fault.validator_value, list):
        # jsonschema tells which property is missing in its message only.
        place += [name for name in fault.validator_value if fault.message == f"{name!r} is a required property"]
    return place
