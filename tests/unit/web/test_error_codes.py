"""The table of error codes is what the port answers with, and each code is asked for in a test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tasker_actors.stats.declared import REFUSAL_CODES
from tasker_actors.web.connection import _MESSAGES
from tasker_actors.web.error_codes import ERROR_CODES
from tasker_actors.web.step_control_routes import _REFUSALS
from tasker_actors.workflow.batches import INVALID_BATCHES
from tasker_actors.workflow.decision import INVALID_DECISION

ROOT = Path(__file__).parents[3]
MAKERS = {"ApiError", "error_response", "_refused", "invalid_request"}
PLACES = [
    *sorted((ROOT / "tasker_actors" / "web").glob("*.py")),
    ROOT / "tasker_actors" / "workflow" / "task_planning.py",
    ROOT / "tasker_actors" / "errors.py",
]
KNOWN = {each.code: each.statuses for each in ERROR_CODES}


def calls() -> Iterator[ast.Call]:
    for path in PLACES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in MAKERS:
                yield node


def written() -> dict[str, set[str]]:
    """Codes that stand in the code as texts, each with the names of its statuses."""
    found: dict[str, set[str]] = {}
    for call in calls():
        if len(call.args) > 1 and isinstance(call.args[1], ast.Constant) and isinstance(call.args[0], ast.Attribute):
            found.setdefault(call.args[1].value, set()).add(call.args[0].attr)
    return found


def test_codes_are_named_once() -> None:
    assert len(KNOWN) == len(ERROR_CODES)
    assert [each.statuses[0] for each in ERROR_CODES] == sorted(each.statuses[0] for each in ERROR_CODES)


def test_every_code_that_is_written_is_in_the_table_with_its_status() -> None:
    found = written()
    assert len(found) > 20
    for code, statuses in found.items():
        assert code in KNOWN, f"{code} is missing in web/error_codes.py"
        assert statuses <= {status.name for status in KNOWN[code]}, code
    of_connections = {code: status for code, (status, _) in _MESSAGES.items()}
    assert of_connections.items() <= {code: statuses[0] for code, statuses in KNOWN.items()}.items()
    assert _REFUSALS.keys() <= KNOWN.keys()


def test_every_code_of_the_table_is_used() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in PLACES if path.name != "error_codes.py")
    elsewhere = {INVALID_DECISION, INVALID_BATCHES, *REFUSAL_CODES}
    assert [code for code in KNOWN if f'"{code}"' not in source and code not in elsewhere] == []


def test_every_code_of_the_table_is_asked_for_in_a_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [code for code in KNOWN if f'"{code}"' not in tests] == []
