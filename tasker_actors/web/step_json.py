"""Steps and their attempts as they are shown (SPEC 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasker_actors.web.json_response import raw_json
from tasker_actors.workflow.states import DONE_STEP_STATES


def step_json(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Show a step as the database has it."""
    error, result = raw_json(columns["error"]), raw_json(columns["result"])
    return {**columns, "error": error, "result": result, "results": _results(columns)}


def attempt_json(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Show one attempt of a step."""
    return {**columns, "error": raw_json(columns["error"])}


def _results(columns: Mapping[str, Any]) -> dict[str, Any] | None:
    """Write what a step came to as the original does; None as long as it has come to nothing, or is left out."""
    succeeded = columns["status"] in DONE_STEP_STATES
    if columns["result_omitted"] or (not succeeded and columns["error"] is None):
        return None
    return {
        "step_uuid": columns["step_uuid"],
        "success": succeeded,
        "status": "completed" if succeeded else "error",
        "result": raw_json(columns["result"]),
        "metadata": {},
        "error": None if succeeded else raw_json(columns["error"]),
    }
