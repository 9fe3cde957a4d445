"""Operators' commands against a supervisor that is written down: what is asked, what is printed, what is refused."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tasker_actors.cli.app import execute

TASK = "01939f7e-aaaa-7bbb-8ccc-dddddddddddd"
STEP = "01939f7e-bbbb-7bbb-8ccc-dddddddddddd"
ENTRY = "01939f7e-cccc-7bbb-8ccc-dddddddddddd"
PATH = f"/v1/tasks/{TASK}/workflow_steps/{STEP}"
WHY = ["--reason", "disk replaced"]


@pytest.fixture
def run(supervisor, monkeypatch, capsys):
    """Run a command against the supervisor; returns exit code, standard output and standard error."""
    monkeypatch.setenv("TASKER_URL", supervisor.url)

    def run_command(*arguments):
        code = execute(arguments)
        return code, *capsys.readouterr()

    return run_command


def one_task(request):
    """A supervisor that knows one task with one step."""
    if request.method == "GET" and request.path == f"/v1/tasks/{TASK}":
        return 200, {"status": "in_progress", "steps": [{"step_uuid": STEP, "name": "charge", "status": "enqueued"}]}
    return 200, {"status": "enqueued", "step_uuid": STEP}


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["reset-step", "--reset-by", "ann"], {"action_type": "reset_for_retry", "reset_by": "ann"}),
        (["resolve-step", "--resolved-by", "ann"], {"action_type": "resolve_manually", "resolved_by": "ann"}),
        (
            ["complete-step", "--completed-by", "ann", "--result", "[1.50]", "--metadata", '{"a": 1}'],
            {
                "action_type": "complete_manually",
                "completed_by": "ann",
                "completion_data": {"result": [1.5], "metadata": {"a": 1}},
            },
        ),
    ],
)
@pytest.mark.parametrize("step", [STEP, "charge"])
def test_a_step_is_acted_on_by_its_id_or_its_name(supervisor, run, arguments, body, step):
    supervisor.answer = one_task

    code, out, _ = run("task", arguments[0], TASK, step, *arguments[1:], *WHY)

    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["step", "charge"], ["status", "enqueued"], ["task", "in_progress"],
    ]  # fmt: skip
    (patch,) = [request for request in supervisor.requests if request.method == "PATCH"]
    assert (patch.path, patch.json()) == (PATH, {**body, "reason": "disk replaced"})


def test_json_is_the_step_as_it_is_now(supervisor, run):
    supervisor.answer = one_task
    code, out, _ = run("task", "reset-step", TASK, STEP, "--reset-by", "ann", *WHY, "--json")
    assert (code, json.loads(out)["step_uuid"]) == (0, STEP)


def test_an_unknown_step_and_bad_json_are_usage_errors(supervisor, run):
    supervisor.answer = one_task
    code, _, err = run("task", "reset-step", TASK, "chrge", "--reset-by", "ann", *WHY)
    assert code == 2
    assert "charge" in err
    complete = ["task", "complete-step", TASK, STEP, "--completed-by", "ann", *WHY]
    code, _, err = run(*complete, "--result", "{")
    assert code == 2
    assert "--result: not valid JSON" in err
    code, _, err = run(*complete, "--result", "1", "--metadata", "x")
    assert "--metadata: not valid JSON" in err
    assert all(request.method == "GET" for request in supervisor.requests)


def test_the_record_of_a_step_is_shown(supervisor, run):
    record = {
        "recorded_at": "2025-12-01T10:30:00.000000Z",
        "from_state": "error",
        "to_state": "enqueued",
        "performed_by": "ann",
        "reason": "disk",
        "worker_uuid": None,
        "execution_time_ms": None,
    }
    supervisor.answer = lambda _: (200, [record])

    code, out, _ = run("task", "audit", TASK, STEP)

    assert code == 0
    assert out.splitlines()[1].split() == [record["recorded_at"], "error", "enqueued", "ann", "disk", "-", "-"]
    assert supervisor.requests[0].path == f"{PATH}/audit"
    code, out, _ = run("task", "audit", TASK, STEP, "--json")
    assert json.loads(out) == [record]


# Tasks


def test_named_tasks_are_reset_and_those_that_cannot_be_make_the_exit_code(supervisor, run):
    def answer(request):
        if TASK in request.path:
            return 200, {"task_uuid": TASK, "reset_steps": 2}
        return 409, {"error": {"code": "nothing_failed", "message": "the task is complete"}}

    supervisor.answer = answer
    code, out, err = run("task", "reset", TASK, ENTRY, "--reset-by", "ann", *WHY)
    assert code == 1
    assert out.splitlines()[1].split() == [TASK, "2"]
    assert f"{ENTRY}: the task is complete" in err
    assert supervisor.requests[0].json() == {"reset_by": "ann", "reason": "disk replaced"}


def test_a_refusal_of_the_key_ends_a_reset(supervisor, run):
    supervisor.answer = lambda _: (401, {"error": {"code": "unauthorized", "message": "a key is needed"}})
    code, _, err = run("task", "reset", TASK, "--reset-by", "ann", *WHY)
    assert code == 2
    assert "a key is needed" in err


def test_tasks_are_reset_by_filters_batch_after_batch(supervisor, run):
    answers = iter(
        [
            {"tasks": [{"task_uuid": TASK, "reset_steps": 1}], "next_after": TASK},
            {"tasks": [], "next_after": None},
        ]
    )
    supervisor.answer = lambda _: (200, next(answers))
    filters = ["--namespace", "shop", "--name", "order", "--error-type", "timeout", "--older-than", "2h"]

    code, out, _ = run("task", "reset", *filters, "--reset-by", "ann", *WHY, "--json")

    assert (code, json.loads(out)["tasks"]) == (0, [{"task_uuid": TASK, "reset_steps": 1}])
    first, second = (request.json() for request in supervisor.requests)
    before = datetime.fromisoformat(first.pop("failed_before"))
    assert timedelta(hours=2) <= datetime.now(UTC) - before < timedelta(hours=3)
    who = {"reset_by": "ann", "reason": "disk replaced"}
    assert first == {**who, "namespace": "shop", "name": "order", "error_type": "timeout"}
    assert second["after"] == TASK


def test_all_failed_tasks_are_reset_where_that_is_said(supervisor, run):
    supervisor.answer = lambda _: (200, {"tasks": [], "next_after": None})
    code, _, err = run("task", "reset", "--all", "--reset-by", "ann", *WHY)
    assert (code, supervisor.requests[0].json()["all"]) == (0, True)
    assert "there are no such tasks" in err


@pytest.mark.parametrize("arguments", [[], [TASK, "--all"], ["--all", "--name", "order"], ["--newer-than", "soon"]])
def test_a_reset_needs_tasks_or_filters_or_all(supervisor, run, arguments):
    code, out, _ = run("task", "reset", *arguments, "--reset-by", "ann", *WHY)
    assert (code, out, supervisor.requests) == (2, "", [])


def test_events_are_redriven_by_filters(supervisor, run):
    supervisor.answer = lambda _: (200, {"redriven": [], "refused": [], "next_after_msg_id": None})
    filters = ["--event", "order.charged", "--reason", "too_large", "--newer-than", "1d"]
    code, _, _ = run("events", "dlq", "redrive", "--namespace", "shop", *filters)
    assert code == 0
    body = supervisor.requests[0].json()
    assert datetime.fromisoformat(body.pop("failed_after"))
    assert body == {"namespace": "shop", "all": True, "event_name": "order.charged", "reason": "too_large"}
    code, _, _ = run("events", "dlq", "redrive", "--namespace", "shop", "--all", "--reason", "too_large")
    assert code == 2


# Dead letters of tasks


def entry(**changes):
    return {
        "dlq_entry_uuid": ENTRY,
        "task_uuid": TASK,
        "original_state": "error",
        "dlq_reason": "max_retries_exceeded",
        "dlq_timestamp": "2025-12-01T10:30:00.000000",
        "resolution_status": "pending",
        "resolved_by": None,
        "task_snapshot": {
            "namespace": "shop",
            "task_name": "order",
            "failures": [{"name": "charge", "attempts": 3, "max_attempts": 3, "error": {"message": "no"}}],
        },
        **changes,
    }


def test_entries_are_listed(supervisor, run):
    supervisor.answer = lambda _: (200, [entry()])
    code, out, _ = run("dlq", "list", "--status", "pending", "--offset", "3")
    assert code == 0
    assert out.splitlines()[1].split()[1:] == [ENTRY, TASK, "shop/order", "max_retries_exceeded", "pending", "-"]
    assert supervisor.requests[0].path == "/v1/dlq?resolution_status=pending&limit=50&offset=3"
    assert json.loads(run("dlq", "list", "--json")[1]) == [entry()]


def test_an_entry_is_shown_with_what_had_failed(supervisor, run):
    supervisor.answer = lambda _: (200, entry())
    code, out, _ = run("dlq", "show", TASK)
    assert code == 0
    assert out.splitlines()[-1].split() == ["charge", "3/3", "no"]
    assert "snapshot.task_name  order" in out
    assert supervisor.requests[0].path == f"/v1/dlq/task/{TASK}"
    assert json.loads(run("dlq", "show", TASK, "--json")[1]) == entry()


def test_a_failure_that_is_no_mapping_is_shown_as_it_is(supervisor, run):
    failure = {"name": "charge", "attempts": 1, "max_attempts": 3, "error": None}
    supervisor.answer = lambda _: (200, entry(task_snapshot={"failures": [failure]}))
    assert run("dlq", "show", TASK)[1].splitlines()[-1].split() == ["charge", "1/3", "-"]


def test_a_task_is_sent_there_and_an_entry_closed(supervisor, run):
    supervisor.answer = lambda _: (201, entry())
    code, out, _ = run("dlq", "send", TASK, "--sent-by", "ann", "--reason", "looks odd")
    assert (code, out.split()[1]) == (0, ENTRY)
    sent = {"sent_by": "ann", "reason": "looks odd", "dlq_reason": "manual_dlq"}
    assert supervisor.requests[-1].json() == sent
    assert json.loads(run("dlq", "send", TASK, "--sent-by", "ann", *WHY, "--json")[1]) == entry()

    supervisor.answer = lambda _: (200, {"success": True, "message": "done", "dlq_entry_uuid": ENTRY})
    code, out, _ = run("dlq", "resolve", ENTRY, "--resolved-by", "ann", "--notes", "disk", "--status", "cancelled")
    assert (code, out.split()) == (0, ["dlq_entry_uuid", ENTRY, "status", "cancelled"])
    closed = {"resolution_status": "cancelled", "resolved_by": "ann", "resolution_notes": "disk"}
    assert (supervisor.requests[-1].method, supervisor.requests[-1].json()) == ("PATCH", closed)
    assert json.loads(run("dlq", "resolve", ENTRY, "--resolved-by", "ann", "--json")[1])["success"] is True


@pytest.mark.parametrize(
    ("command", "path", "row", "cells"),
    [
        ("stats", "/v1/dlq/stats", {"dlq_reason": "manual_dlq", "pending": 2}, ["manual_dlq", "-", "2"]),
        ("queue", "/v1/dlq/investigation-queue?limit=100", {"priority_score": 81.25, "task_name": "order"}, ["81.2"]),
        ("staleness", "/v1/dlq/staleness?limit=100", {"health_status": "stale"}, ["stale"]),
    ],
)
def test_overviews_are_tables(supervisor, run, command, path, row, cells):
    columns = [
        "dlq_reason",
        "total_entries",
        "pending",
        "manually_resolved",
        "permanent_failures",
        "cancelled",
        "oldest_entry",
        "avg_resolution_time_minutes",
        "priority_score",
        "dlq_entry_uuid",
        "task_uuid",
        "namespace_name",
        "task_name",
        "minutes_in_dlq",
        "current_state",
        "health_status",
        "time_in_state_minutes",
        "staleness_threshold_minutes",
    ]
    supervisor.answer = lambda _: (200, [{**dict.fromkeys(columns), **row}])
    code, out, _ = run("dlq", command)
    assert (code, out.splitlines()[1].split()[: len(cells)]) == (0, cells)
    assert supervisor.requests[0].path == path
    assert json.loads(run("dlq", command, "--json")[1])[0].items() >= row.items()


@pytest.mark.parametrize(("command", "answer"), [(["dlq", "list"], {}), (["task", "get", TASK], [])])
def test_an_answer_of_another_kind_is_no_supervisors(supervisor, run, command, answer):
    supervisor.answer = lambda _: (200, answer)
    code, _, err = run(*command)
    assert code == 3
    assert "not as a supervisor does" in err
