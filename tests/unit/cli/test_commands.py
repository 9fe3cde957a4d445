"""Each command against a supervisor that is written down: what is asked, what is printed, what the exit code is."""

import json

import pytest

from tasker_actors.cli import json_lines
from tasker_actors.cli.app import execute
from tasker_actors.identifiers import new_uuid7

UUID = "01939f7e-aaaa-7bbb-8ccc-dddddddddddd"
OTHER = "01939f7e-bbbb-7bbb-8ccc-dddddddddddd"


def task(status="complete", steps=()):
    return {
        "task_uuid": UUID,
        "namespace": "flights",
        "name": "day",
        "version": "1.0.0",
        "status": status,
        "correlation_id": OTHER,
        "context": {"carrier": "AA"},
        "created_at": "2025-12-01T10:30:00.000000Z",
        "total_steps": 2,
        "completed_steps": 1,
        "steps": list(steps),
    }


def step(status, message=None):
    return {
        "step_uuid": OTHER,
        "name": "assess",
        "status": status,
        "attempts": 3,
        "max_attempts": 3,
        "blocked": status == "pending",
        "updated_at": "2025-12-01T10:30:00.000000Z",
        "error": {"type": "handler_error", "code": None, "message": message} if message else None,
    }


@pytest.fixture
def run(supervisor, monkeypatch, capsys):
    """Run a command against the supervisor; returns exit code, standard output and standard error."""
    monkeypatch.setenv("TASKER_URL", supervisor.url)

    def run_command(*arguments):
        code = execute(arguments)
        return code, *capsys.readouterr()

    return run_command


def created(request):
    if request.path == "/v1/tasks/batch":
        tasks = [{"task_uuid": new_uuid7(), "correlation_id": OTHER} for _ in request.json()["tasks"]]
        return 201, {"tasks": tasks}
    return 201, task("pending")


def test_a_task_is_created_and_its_ids_are_printed(supervisor, run):
    supervisor.answer = created

    code, out, err = run(
        "task", "create", "flights/day@1.0.0", "--context", '{"carrier":"AA"}', "--correlation-id", OTHER
    )

    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["task_uuid", UUID],
        ["correlation_id", OTHER],
        ["version", "1.0.0"],
    ]
    assert supervisor.requests[0].json() == {
        "namespace": "flights",
        "name": "day",
        "version": "1.0.0",
        "correlation_id": OTHER,
        "context": {"carrier": "AA"},
    }


def test_what_makes_a_task_unique_is_sent(supervisor, run):
    supervisor.answer = created

    code, _, _ = run("task", "create", "flights/day", "--context", "{}", "--idempotency-key", "k", "--unique-for", "1d")

    assert code == 0
    sent = supervisor.requests[0].json()
    assert (sent["idempotency_key"], sent["unique_for_seconds"]) == ("k", 86_400)


def test_a_created_task_is_printed_as_json_alone(supervisor, run):
    supervisor.answer = created

    code, out, err = run("task", "create", "flights/day", "--context", "{}", "--json")

    assert (code, err) == (0, "")
    assert json.loads(out) == task("pending")


@pytest.mark.parametrize(
    ("status", "code"), [("complete", 0), ("resolved_manually", 0), ("error", 1), ("cancelled", 1)]
)
def test_waiting_ends_with_1_unless_the_task_came_to_a_good_end(supervisor, run, status, code):
    final = task(status, [step("error", "no weather")] if status == "error" else [])
    supervisor.answer = lambda request: created(request) if request.method == "POST" else (200, final)

    found, out, err = run("task", "create", "flights/day", "--context", "{}", "--wait", "--json")

    assert found == code
    assert json.loads(out) == final
    assert (f"ended as {status}" in err) == (code == 1)
    assert ("step assess: no weather" in err) == (status == "error")


def test_the_id_is_printed_although_the_supervisor_forgot_the_task(supervisor, run):
    gone = (404, {"error": {"code": "unknown_task", "message": "no task"}})
    supervisor.answer = lambda request: created(request) if request.method == "POST" else gone

    code, out, err = run("task", "create", "flights/day", "--context", "{}", "--wait", "--json")

    assert code == 1
    assert json.loads(out)["task_uuid"] == UUID
    assert json.loads(err)["error"]["code"] == "unknown_task"


@pytest.mark.parametrize(
    "arguments", [[], ["--context", "{}", "--jsonl", "x"], ["--context", "{}", "--context-file", "x", "--jsonl", "x"]]
)
def test_exactly_one_source_of_contexts_is_needed(supervisor, run, arguments):
    code, out, err = run("task", "create", "flights/day", *arguments)

    assert (code, out) == (2, "")
    assert "exactly one of --context, --context-file and --jsonl" in err
    assert supervisor.requests == []


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "contexts.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(2_500)))
    return path


def test_lines_become_tasks_a_thousand_at_a_time(supervisor, run, jsonl):
    supervisor.answer = created

    code, out, err = run("task", "create", "flights/day", "--jsonl", str(jsonl), "--correlation-id", OTHER)

    assert (code, err) == (0, "created 2500 tasks\n")
    assert len({line.split()[0] for line in out.splitlines()}) == 2_500
    sizes = [len(request.json()["tasks"]) for request in supervisor.requests]
    assert sizes == [1000, 1000, 500]
    contexts = [item["context"]["n"] for request in supervisor.requests for item in request.json()["tasks"]]
    assert contexts == list(range(2_500))
    assert {item["correlation_id"] for request in supervisor.requests for item in request.json()["tasks"]} == {OTHER}
    assert all(len(request.body) <= 2 * 1024 * 1024 for request in supervisor.requests)


def test_large_lines_are_sent_in_requests_below_two_mebibytes(supervisor, run, tmp_path):
    supervisor.answer = created
    path = tmp_path / "large.jsonl"
    path.write_text("".join(f'{{"text": "{"x" * 900_000}", "n": {n}}}\n' for n in range(5)))

    code, _, _ = run("task", "create", "flights/day", "--jsonl", str(path))

    assert code == 0
    assert [len(request.json()["tasks"]) for request in supervisor.requests] == [2, 2, 1]
    assert all(len(request.body) <= 2 * 1024 * 1024 for request in supervisor.requests)


def test_the_largest_line_that_is_taken_makes_a_request_that_is_taken(supervisor, run, tmp_path):
    supervisor.answer = created
    path = tmp_path / "largest.jsonl"
    overhead = len('{"namespace":"flights","name":"day","context":}') + 1
    path.write_bytes(b'{"t":"' + b"x" * (json_lines.MAX_BATCH_BYTES - overhead - len('{"t":""}')) + b'"}')

    code, _, _ = run("task", "create", "flights/day", "--jsonl", str(path))

    assert code == 0
    assert len(supervisor.requests[0].body) <= 2 * 1024 * 1024


def test_nothing_is_created_where_one_line_is_faulty(supervisor, run, jsonl):
    with jsonl.open("a") as file:
        file.write("{nope\n")

    code, out, err = run("task", "create", "flights/day", "--jsonl", str(jsonl))

    assert (code, out) == (2, "")
    assert "contexts.jsonl:2501: not valid JSON" in err
    assert supervisor.requests == []


def test_what_was_created_before_a_refusal_is_printed(supervisor, run, jsonl):
    refusal = (422, {"error": {"code": "invalid_context", "message": "no", "faults": [], "index": 7}})
    supervisor.answer = lambda request: created(request) if len(supervisor.requests) < 3 else refusal

    code, out, err = run("task", "create", "flights/day", "--jsonl", str(jsonl), "--json")

    assert code == 2
    assert len(json.loads(out)["tasks"]) == 2_000
    note, error = err.splitlines()
    assert "lines 2001 to 2500" in note
    assert "2000 tasks were created" in note
    assert json.loads(error)["error"] == {
        "code": "invalid_context",
        "message": "no",
        "faults": [],
        "index": 7,
        "status": 422,
    }


def test_a_wait_for_many_tasks_fails_if_one_of_them_did(supervisor, run, tmp_path):
    path = tmp_path / "two.jsonl"
    path.write_text("{}\n{}\n")
    made = []

    def answer(request):
        if request.method == "POST":
            status, document = created(request)
            made.extend(item["task_uuid"] for item in document["tasks"])
            return status, document
        uuid = request.path.rpartition("/")[2]
        return 200, {**task("error" if uuid == made[1] else "complete"), "task_uuid": uuid}

    supervisor.answer = answer

    code, out, err = run("task", "create", "flights/day", "--jsonl", str(path), "--wait", "--json")

    assert code == 1
    assert [(item["task_uuid"], item["status"]) for item in json.loads(out)["tasks"]] == [
        (made[0], "complete"),
        (made[1], "error"),
    ]
    assert "1 of 2 tasks did not complete: 1 complete, 1 error" in err


def test_tasks_are_listed_with_the_filters_given(supervisor, run):
    supervisor.answer = lambda _: (200, {"tasks": [task()], "next_cursor": "abc"})

    code, out, err = run("task", "list", "--namespace", "flights", "--status", "complete", "--limit", "1")

    assert code == 0
    assert supervisor.requests[0].path == "/v1/tasks?namespace=flights&status=complete&limit=1"
    assert UUID in out
    assert "flights/day@1.0.0" in out
    assert "--cursor abc" in err


def test_a_task_is_shown_with_its_steps(supervisor, run):
    supervisor.answer = lambda _: (200, task("error", [step("error", "no weather"), step("pending")]))

    code, out, _ = run("task", "get", UUID)

    assert code == 0
    assert '{"carrier":"AA"}' in out
    assert "no weather" in out
    assert "blocked by a failure" in out


def test_the_steps_of_a_task_are_shown(supervisor, run):
    supervisor.answer = lambda _: (200, [step("complete")])

    code, out, _ = run("task", "steps", UUID)

    assert code == 0
    assert supervisor.requests[0].path == f"/v1/tasks/{UUID}/workflow_steps"
    assert OTHER in out
    code, out, _ = run("task", "steps", UUID, "--json")
    assert (code, json.loads(out)) == (0, {"steps": [step("complete")]})


def test_a_task_is_cancelled(supervisor, run):
    supervisor.answer = lambda _: (200, task("cancelled"))

    code, out, _ = run("task", "cancel", UUID)

    assert code == 0
    assert (supervisor.requests[0].method, supervisor.requests[0].path) == ("DELETE", f"/v1/tasks/{UUID}")
    assert "cancelled" in out


EVENT = {
    "event_id": UUID,
    "event_name": "flight.delayed",
    "execution": None,
    "metadata": {
        "fired_at": "2025-12-01T10:30:00.000000Z",
        "namespace": "flights",
        "step_name": None,
        "correlation_id": OTHER,
    },
}


def test_events_are_listed(supervisor, run):
    supervisor.answer = lambda _: (200, {"events": [EVENT], "truncated": True})

    code, out, err = run("events", "list", "--correlation-id", OTHER, "--namespace", "flights")

    assert code == 0
    assert supervisor.requests[0].path == f"/v1/events?correlation_id={OTHER}&namespace=flights&limit=100"
    assert "flight.delayed" in out
    assert "raise --limit" in err


def test_dead_letters_are_listed_with_their_reason(supervisor, run):
    letter = {
        "namespace": "flights",
        "msg_id": 1,
        "event": {"event_id": UUID, "event_name": "flight.delayed"},
        "reason": {"code": "too_large", "message": "2 MiB", "path": ""},
        "failed_at": "2025-12-01T10:30:00.000000Z",
        "redrivable": False,
    }
    supervisor.answer = lambda _: (200, {"dead_letters": [letter], "truncated": False})

    code, out, _ = run("events", "dlq", "list")

    assert code == 0
    assert out.splitlines()[1].split() == [
        letter["failed_at"],
        "flights",
        "flight.delayed",
        UUID,
        "too_large",
        "2",
        "MiB",
        "no",
    ]


def test_all_dead_letters_are_redriven_batch_after_batch(supervisor, run):
    answers = iter(
        [
            {"redriven": [{"msg_id": 1, "event_id": UUID}], "refused": [], "next_after_msg_id": 1},
            {
                "redriven": [],
                "refused": [{"msg_id": 2, "code": "too_large", "message": "2 MiB"}],
                "next_after_msg_id": None,
            },
        ]
    )
    supervisor.answer = lambda _: (200, next(answers))

    code, out, err = run("events", "dlq", "redrive", "--namespace", "flights", "--all")

    assert (code, out) == (1, f"{UUID}\n")
    assert "2: 2 MiB" in err
    assert [request.json() for request in supervisor.requests] == [
        {"namespace": "flights", "all": True},
        {"namespace": "flights", "all": True, "after_msg_id": 1},
    ]


def test_single_dead_letters_are_redriven_by_event_id(supervisor, run):
    answer = {"redriven": [{"msg_id": 1, "event_id": UUID}], "refused": [], "next_after_msg_id": None}
    supervisor.answer = lambda _: (200, answer)

    code, out, _ = run("events", "dlq", "redrive", UUID, "--namespace", "flights", "--payload", '{"a": 1}', "--json")

    assert code == 0
    assert json.loads(out) == {"redriven": answer["redriven"], "refused": []}
    assert supervisor.requests[0].json() == {"namespace": "flights", "event_ids": [UUID], "payload": {"a": 1}}


@pytest.mark.parametrize(
    "arguments", [[], [UUID, "--all"], ["--all", "--payload", "{}"], [UUID, OTHER, "--payload", "{}"], ["nope"]]
)
def test_redriving_needs_events_or_all_and_a_payload_one_event(supervisor, run, arguments):
    code, out, _ = run("events", "dlq", "redrive", "--namespace", "flights", *arguments)

    assert (code, out) == (2, "")
    assert supervisor.requests == []


def test_workers_are_listed(supervisor, run):
    worker = {"slot": 0, "host": "here", "pid": 12, "incarnation": 2, "alive": True, "state": "running"}
    supervisor.answer = lambda _: (200, {"workers": [worker]})

    code, out, _ = run("workers")

    assert code == 0
    assert out.splitlines()[1].split()[:6] == ["0", "here", "12", "2", "yes", "running"]


def test_stats_show_the_sum_and_each_slot(supervisor, run):
    figures = {"router": {"total_routed": 5}, "in_process_bus": {"total_events_dispatched": 3}}
    slot = {"slot": 0, "incarnation": 1, "alive": True, "worker_id": "w", **figures}
    document = {**figures, "captured_at": "now", "worker_id": "s", "workers": [slot]}
    supervisor.answer = lambda _: (200, document)

    code, out, _ = run("stats")

    assert code == 0
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["router.total_routed", "5", "5"],
        ["in_process_bus.total_events_dispatched", "3", "3"],
    ]


@pytest.mark.parametrize(
    "command",
    [
        ["workers"],
        ["stats"],
        ["task", "list"],
        ["task", "get", UUID],
        ["task", "cancel", UUID],
        ["events", "list"],
        ["events", "dlq", "list"],
        ["task", "create", "flights/day", "--context", "{}"],
    ],
)
def test_json_is_what_the_supervisor_said_and_errors_are_json_on_standard_error(supervisor, run, command):
    document = {"tasks": [], "steps": [], "events": [], "dead_letters": [], "workers": [], "next_cursor": None}
    supervisor.answer = lambda _: (200, document)
    code, out, err = run(*command, "--json")
    assert (code, json.loads(out), err) == (0, document, "")

    supervisor.answer = lambda _: (404, {"error": {"code": "not_found", "message": "there is no such thing"}})
    code, out, err = run(*command, "--json")
    assert (code, out) == (1, "")
    assert json.loads(err)["error"]["message"] == "there is no such thing"

    code, out, err = run(*command)
    assert (code, out, err) == (1, "", "Error: there is no such thing\n")
