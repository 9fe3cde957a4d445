"""Commands for schedules against a supervisor that is written down: what is asked, what is printed."""

import json

import pytest

from tasker_actors.cli.app import execute

SCHEDULE = {
    "name": "nightly",
    "namespace": "reports",
    "template": "day",
    "version": None,
    "cron": "0 3 * * *",
    "timezone": "Europe/Berlin",
    "context": {"depth": 1.50},
    "scheduled_for_key": "until",
    "priority": 0,
    "tags": ["night"],
    "catch_up": "latest",
    "enabled": True,
    "next_fire_at": "2026-01-02T02:00:00.000000Z",
    "last_fired_at": "2026-01-01T02:00:00.000000Z",
    "last_task_uuid": "01939f7e-aaaa-7bbb-8ccc-dddddddddddd",
    "last_error": None,
    "created_at": "2025-12-31T00:00:00.000000Z",
    "updated_at": "2025-12-31T00:00:00.000000Z",
    "next_fire_times": ["2026-01-02T02:00:00.000000Z", "2026-01-03T02:00:00.000000Z"],
}
PAUSED = {**SCHEDULE, "enabled": False, "next_fire_at": None, "next_fire_times": []}


@pytest.fixture
def run(supervisor, monkeypatch, capsys):
    """Run a command against the supervisor; returns exit code, standard output and standard error."""
    monkeypatch.setenv("TASKER_URL", supervisor.url)

    def run_command(*arguments):
        code = execute(["schedule", *arguments])
        return code, *capsys.readouterr()

    return run_command


def test_a_schedule_is_set_as_it_was_written_and_shown_with_its_next_firings(supervisor, run):
    supervisor.answer = lambda _: (201, SCHEDULE)

    code, out, _ = run(
        "set", "nightly", "reports/day@1.0.0", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin",
        "--context", '{"depth": 1.50}', "--scheduled-for-key", "until", "--priority", "2", "--tag", "night",
        "--tag", "long", "--catch-up", "all", "--paused",
    )  # fmt: skip

    assert code == 0
    (put,) = supervisor.requests
    assert (put.method, put.path) == ("PUT", "/v1/schedules/nightly")
    assert b'{"depth": 1.50}' in put.body
    assert put.json() == {
        "namespace": "reports",
        "template": "day",
        "version": "1.0.0",
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "context": {"depth": 1.5},
        "scheduled_for_key": "until",
        "priority": 2,
        "tags": ["night", "long"],
        "catch_up": "all",
        "enabled": False,
    }
    assert "next firings\n  2026-01-02T02:00:00.000000Z\n  2026-01-03T02:00:00.000000Z" in out


def test_what_is_left_out_has_its_default(supervisor, run, tmp_path):
    supervisor.answer = lambda _: (200, SCHEDULE)
    context = tmp_path / "context.json"
    context.write_text('{"a": 1}')

    run("set", "nightly", "reports/day", "--cron", "0 3 * * *")
    run("set", "nightly", "reports/day", "--cron", "0 3 * * *", "--context-file", str(context))

    first, second = (request.json() for request in supervisor.requests)
    assert first["context"] == {}
    assert second["context"] == {"a": 1}
    assert (first["timezone"], first["catch_up"], first["enabled"], first["tags"]) == ("UTC", "latest", True, [])
    assert first["version"] is None


def test_two_contexts_are_a_usage_error_and_nothing_is_asked(supervisor, run):
    code, _, err = run("set", "n", "reports/day", "--cron", "* * * * *", "--context", "{}", "--context-file", "x")

    assert code == 2
    assert "one of --context and --context-file" in err
    assert supervisor.requests == []


def test_a_list_says_when_each_fires_and_why_the_last_one_failed(supervisor, run):
    failed = {**SCHEDULE, "version": "2", "last_error": {"message": "there is no template reports/day"}}
    supervisor.answer = lambda _: (200, {"schedules": [failed, PAUSED], "next_cursor": "nightly"})

    code, out, err = run("list", "--namespace", "reports", "--limit", "2")

    assert code == 0
    assert supervisor.requests[0].path == "/v1/schedules?namespace=reports&limit=2"
    first, second = out.splitlines()[1:]
    assert "reports/day@2 " in first
    assert "2026-01-02T02:00:00.000000Z" in first
    assert "there is no template reports/day" in first
    assert "paused" in second
    assert "--cursor nightly" in err


def test_no_schedules_are_said_to_be_none(supervisor, run):
    supervisor.answer = lambda _: (200, {"schedules": [], "next_cursor": None})
    assert run("list") == (0, "", "there are no such schedules\n")


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (PAUSED, "it is paused"),
        ({**PAUSED, "enabled": True}, "it fires no more"),
        (
            {**SCHEDULE, "next_fire_times": []},
            "it is due at 2026-01-02T02:00:00.000000Z, and this supervisor cannot read when after that",
        ),
    ],
)
def test_one_without_next_firings_is_shown_with_the_reason(supervisor, run, schedule, end):
    supervisor.answer = lambda _: (200, schedule)
    code, out, _ = run("show", "nightly")
    assert (code, out.splitlines()[-1]) == (0, end)


@pytest.mark.parametrize(("command", "enabled"), [("pause", False), ("resume", True)])
def test_it_is_paused_and_resumed(supervisor, run, command, enabled):
    supervisor.answer = lambda _: (200, {**SCHEDULE, "enabled": enabled})

    code, _, _ = run(command, "nightly")

    assert code == 0
    (patch,) = supervisor.requests
    assert (patch.method, patch.path, patch.json()) == ("PATCH", "/v1/schedules/nightly", {"enabled": enabled})


def test_it_is_deleted(supervisor, run):
    supervisor.answer = lambda _: (200, SCHEDULE)

    code, out, _ = run("delete", "nightly")

    assert code == 0
    assert (supervisor.requests[0].method, supervisor.requests[0].path) == ("DELETE", "/v1/schedules/nightly")
    assert out.split() == ["deleted", "nightly", "last_fired_at", "2026-01-01T02:00:00.000000Z"]


def test_it_is_fired_by_hand(supervisor, run):
    supervisor.answer = lambda _: (201, {"task_uuid": "t", "correlation_id": "c"})

    code, out, _ = run("fire", "nightly")

    assert (code, out.split()) == (0, ["task_uuid", "t", "correlation_id", "c"])
    assert (supervisor.requests[0].method, supervisor.requests[0].path) == ("POST", "/v1/schedules/nightly/fire")


@pytest.mark.parametrize("command", ["show", "delete", "fire", "list", "pause"])
def test_json_is_the_answer_as_it_came(supervisor, run, command):
    answer = {"schedules": [], "next_cursor": None} if command == "list" else SCHEDULE
    supervisor.answer = lambda _: (200, answer)

    code, out, _ = run(command, *(() if command == "list" else ("nightly",)), "--json")

    assert (code, json.loads(out)) == (0, answer)


def test_a_name_cannot_leave_its_place_in_the_path(supervisor, run):
    run("show", "../tasks?x")
    assert supervisor.requests[0].path == "/v1/schedules/..%2Ftasks%3Fx"
