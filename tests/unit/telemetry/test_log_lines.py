"""One line for any fields (SPEC 4.4)."""

import json
import uuid
from collections import UserDict
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tasker_actors.telemetry.log_lines import HEAD, console_line, json_line, ordered

HEADER = {
    "timestamp": "2025-12-01T10:30:00.000000Z",
    "level": "info",
    "logger": "tasker_actors.test",
    "thread": "MainThread",
    "worker": 0,
    "pid": 7,
    "event": "Step finished",
}


def line(**fields):
    return json.loads(json_line(ordered(HEADER | fields)))


def console(*, coloured=False, **fields):
    return console_line(ordered(HEADER | fields), coloured=coloured).decode()


def test_the_order_is_head_ids_measurements_error_trace():
    shuffled = {
        "span_id": "b",
        "duration_ms": 1.5,
        "error": "E",
        "step_name": "s",
        "trace_id": "a",
        "count": 2,
        "correlation_id": "c",
        "task_uuid": "t",
        "traceback": "T",
    }
    assert list(line(**shuffled)) == [
        *HEAD,
        "correlation_id",
        "task_uuid",
        "step_name",
        "duration_ms",
        "count",
        "error",
        "traceback",
        "trace_id",
        "span_id",
    ]


def test_a_missing_head_field_is_null():
    assert json.loads(json_line(ordered({"event": "x"})))["worker"] is None


@dataclass
class Point:
    url: str


class Broken:
    def __str__(self):
        raise RuntimeError


class Text(str):
    __slots__ = ()


UUID = uuid.UUID("01936d3e-0000-7000-8000-000000000000")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (2**63 - 1, 2**63 - 1),
        (2**70, hex(2**70)),
        (Text("x"), "x"),
        ("\ud800é", "\\ud800\\xe9"),
        (UUID, str(UUID)),
        (datetime(2025, 12, 1, tzinfo=UTC), "2025-12-01 00:00:00+00:00"),
        (b"raw", "b'raw'"),
        (ValueError("bad"), "ValueError: bad"),
        (Broken(), "<Broken that cannot be shown: RuntimeError>"),
        ([Broken()], "<list that cannot be shown: RuntimeError>"),
        ({1: {"a": (1, {2})}}, {"1": {"a": [1, [2]]}}),
        (UserDict(a=1), {"a": 1}),
        ("a://u:secret@h", "a://u:***@h"),
        ({"k": ["a://u:secret@h"]}, {"k": ["a://u:***@h"]}),
        ({"a://u:secret@h": 1}, {"a://u:***@h": 1}),
        (ValueError("a://u:secret@h"), "ValueError: a://u:***@h"),
        (Point("a://u:secret@h"), "Point(url='a://u:***@h')"),
    ],
)
def test_any_value_can_be_logged_and_none_shows_a_password(value, shown):
    assert line(value=value)["value"] == shown
    console(value=value)


def test_a_value_that_contains_itself_ends():
    endless = []
    endless.append(endless)
    assert "value" in line(value=endless)
    assert console(value=endless).count("\n") == 1


HOSTILE = "x\nINFO fake\r\x1b[2J\x00\x7f\x9b\u2028\u2029\u202e\u2066\t"


@pytest.mark.parametrize("field", ["event", "logger", "thread", "value", "error", "correlation_id", "worker"])
@pytest.mark.parametrize("coloured", [False, True])
def test_no_field_can_start_a_line_or_steer_the_terminal(field, coloured):
    text = console(coloured=coloured, **{field: HOSTILE})
    assert text.count("\n") == 1
    assert r"x\nINFO fake\r\x1b[2J\x00\x7f\x9b\u2028\u2029\u202e\u2066\t" in text
    assert json_line(ordered(HEADER | {field: HOSTILE})).count(b"\n") == 1
    if not coloured:
        assert text[:-1].isprintable()


def test_no_field_name_can_either():
    assert console(**{HOSTILE: {HOSTILE: [HOSTILE]}}).count("\n") == 1


def test_a_traceback_stands_below_its_line_and_cannot_pass_for_another():
    text = console(traceback="Traceback:\n2025 info fake\n\x1b[31m")
    assert text.splitlines()[1:] == ["    Traceback:", "    2025 info fake", r"    \x1b[31m"]


def test_a_console_line_has_everything():
    assert console(worker=None, step_name="a b", duration_ms=1.5, note='say "x"', empty="") == (
        "2025-12-01T10:30:00.000000Z info     tasker_actors.test MainThread worker=- pid=7 Step finished "
        'step_name="a b" duration_ms=1.5 note="say \\"x\\"" empty=""\n'
    )


def test_only_a_coloured_line_has_colours():
    assert "\x1b[32minfo    \x1b[0m" in console(coloured=True)
    assert "\x1b" not in console()
