"""Native code in real workers: it runs, it crashes, it hangs, it does what it should not (SPEC 4.1, 6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.native_code import EXAMPLES, SOURCES, build, handler, native
from support.project import Project
from support.supervised import Supervised, is_running, run_to_end, supervised
from support.waiting import until

RETRY = {"max_attempts": 2, "backoff": "none"}
JFK_LHR = {"from_latitude": 40.6398, "from_longitude": -73.7789, "to_latitude": 51.4706, "to_longitude": -0.4619}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("libraries")
    for source in (
        *(EXAMPLES / name for name in ("great_circle.c", "count_events.c")),
        *(SOURCES / name for name in ("answers.c",)),
    ):
        build(source, directory)
    build(SOURCES / "hostile.c", directory, "-DHOSTILE_CHILD_RETURNS", name="returning")
    return directory


HANDLERS = """
from tasker_actors import step_handler

@step_handler("plain")
def plain(context):
    return {"attempt": context.retry_count + 1}
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, embedded_server: Any, libraries: Path) -> Iterator[Supervised]:
    """One worker, so that events and the steps that ask for their number are in one process."""
    project = Project(tmp_path_factory.mktemp("native") / "project")
    project.module("native_test_handlers", HANDLERS)
    project.template(
        "distance",
        {
            "measure": {
                "handler": handler("great_circle", "great_circle.so"),
                "retry": RETRY,
                "publishes_events": [{"name": "flight.measured", "delivery_mode": "fast"}],
            },
            "tell": {"handler": handler("events_counted", "count_events.so"), "dependencies": ["measure"]},
            "echo": {
                "handler": {"callable": handler("echo"), "initialization": {"unit": "km"}},
                "dependencies": ["measure"],
            },
        },
        namespace="native",
    )
    project.template("counted", {"tell": {"handler": handler("events_counted", "count_events.so")}}, namespace="native")
    for symbol in ("fails", "no_json", "nul", "huge_integer"):
        project.template(symbol, {symbol: {"handler": handler(symbol), "retry": RETRY}}, namespace="native")
    variables = native(
        libraries, ("count_events.so", "count_event", "flight.*"), ("answers.so", "refuse_event", "flight.measured")
    )
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=1, variables=variables) as found,
    ):
        yield found


def test_a_native_handler_runs_as_a_step_like_any_other(one: Supervised) -> None:
    task = one.run("distance", namespace="native", context=JFK_LHR)

    steps = one.steps(task["task_uuid"])
    assert steps["measure"]["result"] == {"distance_km": 5539.654}
    told = steps["echo"]["result"]
    assert told["dependency_results"] == {"measure": {"distance_km": 5539.654}}
    assert (told["step_config"], told["input_data"]) == ({"unit": "km"}, JFK_LHR)
    assert told["correlation_id"] == task["correlation_id"]
    (attempt,) = one.rows("SELECT * FROM tasker.tasks WHERE task_uuid = %s", task["task_uuid"])
    assert told["traceparent"].split("-")[1] == attempt["traceparent"].split("-")[1]


def test_a_failure_that_a_native_handler_states_is_the_attempts(one: Supervised) -> None:
    task = one.run("fails", namespace="native", status="error")
    (attempt,) = one.attempts(task["task_uuid"], "fails")
    error = attempt["error"]
    assert (error["error_type"], error["error_code"], error["message"]) == ("full", "F1", "no seat")


@pytest.mark.parametrize("symbol", ["no_json", "nul", "huge_integer"])
def test_an_answer_that_cannot_be_a_result_fails_the_step_for_good(one: Supervised, symbol: str) -> None:
    task = one.run(symbol, namespace="native", status="error")
    (attempt,) = one.attempts(task["task_uuid"], symbol)
    assert attempt["error"]["error_type"] == "invalid_result"


def test_native_subscribers_get_events_and_are_counted(one: Supervised) -> None:
    before = one.event_stats()["in_process_bus"]

    def risen(key: str) -> int:
        return int(one.event_stats()["in_process_bus"][key] - before[key])

    for _ in range(5):
        one.run("distance", namespace="native", context=JFK_LHR)

    until(lambda: (risen("ffi_channel_dispatches"), risen("rust_handler_errors")) == (5, 5))
    now = one.event_stats()["in_process_bus"]
    assert (now["ffi_subscriber_count"], now["ffi_channel_drops"]) == (2, 0)
    assert risen("total_events_dispatched") == 5
    assert risen("rust_handler_dispatches") == 0
    task = one.run("counted", namespace="native")
    assert one.steps(task["task_uuid"])["tell"]["result"] == {"events": now["ffi_channel_dispatches"]}
    series = one.metrics()["in_process_bus_ffi_channel_dispatches_total"]
    assert sum(series.values()) == now["ffi_channel_dispatches"]
    assert one.logged("A native subscriber failed", subscriber="answers.so#refuse_event", error="returned 7")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.module("native_test_handlers", HANDLERS)
    project.template("plain", {"plain": {}}, namespace="native")
    return project


def test_a_crash_in_native_code_costs_its_worker_and_its_step(
    project: Project, database_url: str, libraries: Path
) -> None:
    """The step that kills is charged for both of its attempts, every other task completes in its first."""
    project.template("crash", {"crash": {"handler": handler("crash"), "retry": RETRY}}, namespace="native")
    with supervised(project, database_url, variables=native(libraries)) as one:
        crashing = one.create("crash", namespace="native")
        one.create_many("plain", 200, namespace="native")

        one.wait(crashing, "error")
        until(lambda: one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL") == [{"n": 0}])

        attempts = one.attempts(crashing, "crash")
        assert attempts[-1]["attempt"] == 2
        assert attempts[-1]["error"]["error_type"] == "worker_lost"
        others = one.rows(
            "SELECT DISTINCT t.status, s.attempts FROM tasker.tasks t JOIN tasker.steps s USING (task_uuid) "
            "WHERE t.name = 'plain'"
        )
        assert others == [{"status": "complete", "attempts": 1}]
        one.wait_workers(lambda workers: len(workers) == 2)
        restarts = one.metrics()["tasker_workers_restarts_total"]
        assert {dict(labels)["reason"] for labels, value in restarts.items() if value} == {"signal"}
        assert sum(restarts.values()) >= 2
        assert {line["exit_code"] for line in one.logged("Worker ended")} == {-11}
        assert one.stop() == 0


def test_a_native_call_past_its_limit_fails_in_time_and_its_worker_is_replaced(
    project: Project, database_url: str, libraries: Path
) -> None:
    step = {"handler": handler("sleep_in_the_first_attempt"), "timeout_seconds": 0.4, "retry": RETRY}
    project.template("slow", {"slow": step}, namespace="native")
    variables = native(libraries, TASKER_WORKER__TIMEOUT_GRACE_MS="400")
    with supervised(project, database_url, variables=variables) as one:
        task = one.run("slow", namespace="native")

        first, second = one.attempts(task["task_uuid"], "slow")
        assert (first["outcome"], first["error"]["error_type"]) == ("waiting_for_retry", "timeout")
        assert (second["attempt"], second["outcome"]) == (2, "complete")
        until(lambda: [line["reason"] for line in one.logged("Worker ended")] == ["hang"])
        one.wait_workers(lambda workers: len(workers) == 2)
        one.run("plain", namespace="native")


def test_a_native_subscriber_that_hangs_holds_up_no_other_one(
    project: Project, database_url: str, libraries: Path, tmp_path: Path
) -> None:
    """Nor the end: the worker leaves the call behind, and drains with exit code 0."""
    project.template(
        "event", {"plain": {"publishes_events": [{"name": "plain.done", "delivery_mode": "fast"}]}}, namespace="native"
    )
    taken = tmp_path / "taken"
    variables = native(
        libraries, ("answers.so", "sleep_over_event", "*"), ("answers.so", "write_event", "*"), EVENT_FILE=str(taken)
    )
    with supervised(project, database_url, workers=1, variables=variables) as one:
        tasks = [one.run("event", namespace="native")["task_uuid"] for _ in range(3)]

        until(lambda: taken.exists() and len(taken.read_text(encoding="utf-8").splitlines()) == 3)
        events = [json.loads(line) for line in taken.read_text(encoding="utf-8").splitlines()]
        assert [event["metadata"]["task_uuid"] for event in events] == tasks
        assert set(events[0]) == {"event_id", "event_name", "event_version", "payload", "execution", "metadata"}
        until(lambda: one.event_stats()["in_process_bus"]["rust_handler_errors"] == 3)
        assert one.event_stats()["in_process_bus"]["ffi_channel_drops"] == 0
        (line,) = one.logged("A native subscriber failed", subscriber="answers.so#sleep_over_event")
        assert line["error"].startswith("has not returned within 1 s")
        assert one.stop() == 0, one.last_words()


def test_a_full_channel_drops_its_oldest_events_and_counts_them(
    project: Project, database_url: str, libraries: Path
) -> None:
    project.template(
        "event", {"plain": {"publishes_events": [{"name": "plain.done", "delivery_mode": "fast"}]}}, namespace="native"
    )
    variables = native(
        libraries,
        ("answers.so", "sleep_over_event", "*"),
        TASKER_EVENT_BUS__FFI_BUFFER_SIZE="2",
        TASKER_EVENT_BUS__DISPATCH_TIMEOUT_MS="60000",
    )
    with supervised(project, database_url, workers=1, variables=variables) as one:
        for _ in range(6):
            one.run("event", namespace="native")

        until(lambda: one.event_stats()["in_process_bus"]["ffi_channel_drops"] == 3)
        assert one.event_stats()["in_process_bus"]["ffi_channel_dispatches"] == 6
        assert one.metrics()["tasker_domain_events_dropped_total"][frozenset({("channel", "ffi")})] == 3
        assert one.stop() == 0, one.last_words()


@pytest.mark.parametrize(
    ("callable_", "subscriber", "said"),
    [
        (
            handler("absent"),
            None,
            "template native/wrong@1.0.0, step run: native library {}/answers.so has no function",
        ),
        (handler("run", "gone.so"), None, "step run: handler.callable: native library 'gone.so' cannot be found"),
        (handler("run", "../up.so"), None, "native library '../up.so' cannot be found"),
        (
            None,
            ("answers.so", "absent", "*"),
            "native.subscribers: native library {}/answers.so has no function absent",
        ),
        (None, ("gone.so", "run", "*"), "native.subscribers: gone.so#run: native library 'gone.so' cannot be found"),
    ],
    ids=["handler", "handler's file", "file outside", "subscriber", "subscriber's file"],
)
def test_what_cannot_be_loaded_ends_the_start_with_its_name(
    project: Project,
    database_url: str,
    libraries: Path,
    callable_: str | None,
    subscriber: tuple[str, str, str] | None,
    said: str,
) -> None:
    if callable_ is not None:
        project.template("wrong", {"run": {"handler": callable_}}, namespace="native")
    variables = native(libraries, *([subscriber] if subscriber is not None else []))

    code, output = run_to_end(project, DATABASE_URL=database_url, **variables)

    assert code == 3, output
    assert said.format(libraries.resolve()) in output


def test_a_forked_child_that_returns_from_the_library_is_ended(
    project: Project, database_url: str, libraries: Path
) -> None:
    """Else there would be two of the worker, which share a connection, a memory block and a lease."""
    project.template("rounds", {"rounds": {"handler": handler("tell_rounds", "returning.so")}}, namespace="native")
    with supervised(project, database_url, workers=1, variables=native(libraries)) as one:
        task = one.run("rounds", namespace="native")
        result = one.steps(task["task_uuid"])["rounds"]["result"]

        until(lambda: not is_running(result["forked"]))
        assert one.worker_pids() == {result["pid"]}
        assert len(one.logged("Native library loaded")) == 1
        assert one.stop() == 0
