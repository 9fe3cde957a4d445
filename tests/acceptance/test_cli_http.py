"""The commands against the real HTTP API over a real database; a stand-in for the workers finishes the tasks."""

import json
import logging
import threading

import pytest
import structlog
from support.api_runtime import RecordingRuntime, serving
from support.stored_work import FakeWorker, create, dead_letter, message, register, result, send

from tasker_actors.cli.app import execute
from tasker_actors.identifiers import is_uuid, new_uuid7
from tasker_actors.postgres.connect import open_pool
from tasker_actors.settings import load_settings

FIRED_AT = "2025-12-01T10:30:00.000000Z"


@pytest.fixture(autouse=True)
def _quiet_server():
    # The server shares this process and its standard output with the command.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def pool(database_url):
    with open_pool(database_url, application_name="tests", max_size=6) as opened:
        yield opened


@pytest.fixture
def runtime(pool):
    found = RecordingRuntime(pool)
    found.registered.append(register(pool))
    return found


@pytest.fixture
def run(runtime, capsys, monkeypatch):
    """Run a command against the API; returns exit code, standard output and standard error."""
    with serving(runtime) as client:
        monkeypatch.setenv("TASKER_URL", str(client.base_url))

        def run_command(*arguments):
            code = execute(arguments)
            return code, *capsys.readouterr()

        yield run_command


def as_json(done):
    code, out, err = done
    assert (code, err) == (0, "")
    return json.loads(out)


def test_a_task_is_created_listed_shown_and_cancelled(run, runtime):
    correlation_id = new_uuid7()
    context = '{"amount": 1, "rate": 12345678901234567890.5}'

    made = as_json(
        run("task", "create", "shop/order", "--context", context, "--correlation-id", correlation_id, "--json")
    )
    listed = as_json(run("task", "list", "--correlation-id", correlation_id, "--status", "pending", "--json"))
    shown = as_json(run("task", "get", made["task_uuid"], "--json"))
    steps = as_json(run("task", "steps", made["task_uuid"], "--json"))
    said = ("--cancelled-by", "ann", "--reason", "ordered twice")
    cancelled = as_json(run("task", "cancel", made["task_uuid"], *said, "--json"))

    assert runtime.created == [("shop", "order")]
    assert made["correlation_id"] == correlation_id
    assert [task["task_uuid"] for task in listed["tasks"]] == [made["task_uuid"]]
    assert shown["context"]["amount"] == 1
    assert [step["name"] for step in steps["steps"]] == ["reserve", "charge", "notify"]
    assert (cancelled["status"], cancelled["cancelled_by"], cancelled["cancel_reason"]) == (
        "cancelled", "ann", "ordered twice",
    )  # fmt: skip
    for command in (["task", "list"], ["task", "get", made["task_uuid"]], ["task", "steps", made["task_uuid"]]):
        code, out, _ = run(*command)
        assert code == 0
        assert (made["task_uuid"] in out) == (command[1] != "steps")


def test_a_context_against_the_schema_is_2_with_the_path_of_each_fault(run):
    code, out, err = run("task", "create", "shop/order", "--context", '{"amount": 0, "items": 1}')

    assert (code, out) == (2, "")
    assert "/context/amount: " in err
    assert "/context/items: " in err


def test_an_unknown_template_is_1_and_named(run):
    code, out, err = run("task", "create", "shop/ordre", "--context", "{}", "--json")

    assert (code, out) == (1, "")
    assert json.loads(err)["error"]["code"] == "unknown_template"
    assert "shop/ordre" in json.loads(err)["error"]["message"]


def finishing(pool, count, failing=0):
    """Do the work of `count` tasks of three steps in a thread; the first `failing` of them fail."""
    worker = FakeWorker(pool)
    failed = set()

    def work():
        finished = 0
        while finished < count:
            for step in worker.claim():
                fails = len(failed) < failing or step["task_uuid"] in failed
                if fails:
                    failed.add(step["task_uuid"])
                worker.commit(result(step, "error" if fails else "complete"))
                finished += fails or step["position"] == 3

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_waiting_for_a_task_that_completes_is_0(run, pool):
    thread = finishing(pool, 1)

    task = as_json(run("task", "create", "shop/order", "--context", '{"amount": 1}', "--wait", "--json"))

    thread.join()
    assert task["status"] == "complete"
    assert task["completion_percentage"] == 100.0


def test_waiting_for_a_task_that_fails_is_1_and_says_which_step(run, pool):
    thread = finishing(pool, 1, failing=1)

    code, out, err = run("task", "create", "shop/order", "--context", '{"amount": 1}', "--wait")

    thread.join()
    assert code == 1
    assert out.splitlines()[-1].split() == ["status", "error"]
    assert "step reserve: no" in err


def test_lines_become_tasks_that_can_be_waited_for(run, pool, tmp_path):
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(f'{{"amount": {n + 1}}}\n' for n in range(60)))
    thread = finishing(pool, 60, failing=1)

    code, out, err = run("task", "create", "shop/order", "--jsonl", str(path), "--wait", "--json")

    thread.join()
    tasks = json.loads(out)["tasks"]
    assert code == 1
    assert len({task["task_uuid"] for task in tasks}) == 60
    assert sorted(task["status"] for task in tasks) == ["complete"] * 59 + ["error"]
    assert "1 of 60 tasks did not complete" in err


def test_more_lines_than_a_request_takes_become_tasks_in_order(run, pool, tmp_path):
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(f'{{"amount": {n + 1}}}\n' for n in range(1_001)))

    code, out, err = run("task", "create", "shop/order@1.0.0", "--jsonl", str(path))

    assert (code, err) == (0, "created 1001 tasks\n")
    uuids = [line.split()[0] for line in out.splitlines()]
    with pool.connection() as connection:
        rows = connection.execute("SELECT task_uuid::text, context->>'amount' FROM tasker.tasks").fetchall()
    amounts = dict(rows)
    assert [amounts[uuid] for uuid in uuids] == [str(n + 1) for n in range(1_001)]


def test_requests_as_large_as_the_command_makes_them_are_taken(run, tmp_path):
    path = tmp_path / "large.jsonl"
    path.write_text("".join(f'{{"amount": 1, "text": "{"x" * 1_040_000}"}}\n' for _ in range(4)))

    code, out, _ = run("task", "create", "shop/order", "--jsonl", str(path))

    assert code == 0
    assert all(is_uuid(line.split()[0]) for line in out.splitlines())


def test_a_refused_line_leaves_its_batch_undone_and_is_named(run, pool, tmp_path):
    path = tmp_path / "orders.jsonl"
    path.write_text('{"amount": 1}\n{"amount": -1}\n')

    code, out, err = run("task", "create", "shop/order", "--jsonl", str(path))

    assert (code, out) == (2, "")
    assert "lines 1 to 2" in err
    assert "amount" in err
    with pool.connection() as connection:
        assert connection.execute("SELECT count(*) FROM tasker.tasks").fetchone() == (0,)


def test_events_are_listed(run, pool):
    correlation_id = new_uuid7()
    event = message(correlation_id, fired_at=FIRED_AT)
    send(pool, "shop_domain_events", event, message(new_uuid7(), fired_at=FIRED_AT))

    document = as_json(run("events", "list", "--correlation-id", correlation_id, "--json"))
    code, out, _ = run("events", "list", "--namespace", "shop")

    assert [found["event_id"] for found in document["events"]] == [event["event_id"]]
    assert code == 0
    assert len(out.splitlines()) == 3
    assert event["event_id"] in out


def test_dead_letters_are_listed_and_published_after_all(run, pool):
    events = [message(new_uuid7(), fired_at=FIRED_AT) for _ in range(3)]
    letters = [dead_letter(event) for event in events]
    del letters[2]["payload"]
    send(pool, "shop_domain_events_dlq", *letters)

    code, listed, _ = run("events", "dlq", "list")
    one = as_json(run("events", "dlq", "redrive", events[0]["event_id"], "--namespace", "shop", "--json"))
    rest, out, err = run("events", "dlq", "redrive", "--all", "--namespace", "shop")
    last = run("events", "dlq", "redrive", events[2]["event_id"], "--namespace", "shop", "--payload", '{"amount": 2}')

    assert code == 0
    assert [line.split()[-1] for line in listed.splitlines()[1:]] == ["yes", "yes", "no"]
    assert [letter["event_id"] for letter in one["redriven"]] == [events[0]["event_id"]]
    assert (rest, out) == (1, f"{events[1]['event_id']}\n")
    assert events[2]["event_id"] in err
    assert last[:2] == (0, f"{events[2]['event_id']}\n")
    published = as_json(run("events", "list", "--namespace", "shop", "--json"))["events"]
    assert {event["event_id"] for event in published} == {event["event_id"] for event in events}


def test_workers_are_listed(run, pool):
    FakeWorker(pool)

    code, out, _ = run("workers")

    assert code == 0
    assert out.splitlines()[1].split()[:2] == ["0", "testhost"]


def test_with_a_key_on_the_server_the_command_needs_it_too(runtime, capsys, monkeypatch):
    runtime.settings = load_settings(environ={"TASKER_API_KEY": "s3cret"})
    create(runtime.pool, runtime.registered[0])
    with serving(runtime) as client:
        url = str(client.base_url)
        assert execute(["task", "list", "--url", url]) == 2
        assert "TASKER_API_KEY" in capsys.readouterr().err
        monkeypatch.setenv("TASKER_API_KEY", "wrong")
        assert execute(["task", "list", "--url", url]) == 2
        capsys.readouterr()
        monkeypatch.setenv("TASKER_API_KEY", "s3cret")
        assert execute(["task", "list", "--url", url]) == 0
        assert "shop/order@1.0.0" in capsys.readouterr().out
