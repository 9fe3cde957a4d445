"""Checks a task's context against its template's `input_schema` (SPEC 8: 422 with the path of each fault)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasker_actors.workflow.json_schema import json_pointer, value_faults

MAX_CONTEXT_FAULTS = 100


@dataclass(frozen=True, slots=True)
class ContextFault:
    """One thing wrong with a context; `path` is a JSON pointer (RFC 6901), empty for the context itself."""

    path: str
    message: str


def validate_context(schema: Mapping[str, Any] | None, context: Any) -> list[ContextFault]:
    """Say what is wrong with a context, at most `MAX_CONTEXT_FAULTS` things; an empty list means it is good.

    Without a schema every context is good. The schema is compiled once for its content. Raises nothing for any JSON
    value, provided that the schema was checked when its template was loaded.
    """
    if schema is None:
        return []
    faults = value_faults(schema, context, limit=MAX_CONTEXT_FAULTS)
    return [ContextFault(json_pointer(path), message) for path, message in faults]
