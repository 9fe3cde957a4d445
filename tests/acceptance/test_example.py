"""The worked example as its users run it: real processes, a real database, real signals."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sysconfig
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pgmq import Message, PGMQueue
from support.example_figures import check_counts, check_gauges, is_at_rest
from support.figures import Figures, exported, scraped
from support.otlp_receiver import OtlpReceiver
from support.waiting import until

from tasker_actors.cli.client import SupervisorClient
from tasker_actors.errors import StartupError, TaskerError
from tasker_actors.example import flight_data
from tasker_actors.example.command import run_example
from tasker_actors.example.day import Day
from tasker_actors.example.expected import EXPECTED, differences
from tasker_actors.example.home import temporary_home
from tasker_actors.example.supervisor import ExampleSupervisor
from tasker_actors.postgres.embedded import programs

COMMAND = str(Path(sysconfig.get_path("scripts"), "tasker-actors"))
QUEUE = "flights_domain_events"
FLIGHTS = EXPECTED["tasks"]["total"]
LIMIT_S = 90.0

pytestmark = pytest.mark.timeout(240)


@dataclass
class Run:
    """A running example, or a supervisor started by hand, with all that it writes in files."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def url(self) -> str:
        """The supervisor's address, once it has said it."""
        until(lambda: self._found_url() is not None or self.process.poll() is not None, LIMIT_S)
        found = self._found_url()
        assert found is not None, self.err.read_text()
        return found

    def _found_url(self) -> str | None:
        match = re.search(r"ready.*?(http://[\d.]+:\d+)", self.err.read_text())
        return match[1] if match else None

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(LIMIT_S)

    def document(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        document = json.loads(self.out.read_text())
        assert isinstance(document, dict)
        return document

    def supervisor(self) -> psutil.Process:
        """The only child of an example."""
        [child] = psutil.Process(self.process.pid).children()
        return child

    def workers(self) -> list[psutil.Process]:
        """The children of its supervisor, without the database server."""
        workers = workers_of(self.supervisor())
        assert len(workers) == 2
        return workers


def workers_of(supervisor: psutil.Process) -> list[psutil.Process]:
    return [child for child in supervisor.children() if "tasker_actors.supervision.worker" in child.cmdline()]


@dataclass
class Machine:
    """A place of its own for temporary files and for the working directory."""

    temporary: Path
    working: Path
    runs: list[Run]

    def start(self, *arguments: str, **environment: str) -> Run:
        number = len(self.runs)
        out, err = self.working.parent / f"{number}.out", self.working.parent / f"{number}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [COMMAND, *arguments],
                cwd=self.working,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, "TMPDIR": str(self.temporary), **environment},
            )
        self.runs.append(Run(process, out, err))
        return self.runs[-1]

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to a supervisor or database of this machine."""
        places = (str(self.temporary), str(self.working))
        return [process for process in psutil.process_iter() if any(place in _traces(process) for place in places)]

    def rest(self) -> list[object]:
        """What is left: processes and temporary files."""
        return [*self.processes(), *self.temporary.iterdir()]


def _traces(process: psutil.Process) -> str:
    try:
        home = process.environ().get("TASKER_HOME", "")
        return " ".join((*process.cmdline(), process.cwd(), home))
    except psutil.Error:
        return ""


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not pytest's own directory: a database in it would need a second one, on a path short enough for its socket.
    with tempfile.TemporaryDirectory(prefix="tasker-machine-") as directory:
        machine = Machine(Path(directory, "temporary"), Path(directory, "working"), [])
        machine.temporary.mkdir()
        machine.working.mkdir()
        yield machine
        for process in machine.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        until(lambda: not machine.processes())
        for run in machine.runs:
            run.process.wait(LIMIT_S)


def router(url: str) -> dict[str, int]:
    counts: dict[str, int] = httpx.get(f"{url}/metrics/events", trust_env=False).json()["router"]
    return counts


def in_the_middle(run: Run) -> None:
    """Return as soon as some flights are finished."""
    url = run.url
    until(lambda: router(url)["durable_routed"] > 0)


MOMENT_S = 0.05


@contextmanager
def standing_still(run: Run) -> Iterator[list[psutil.Process]]:
    """Stop all workers for the block, in the middle of the day."""
    _ = run.url  # they are there when it is
    workers = run.workers()

    def have_begun() -> bool:
        """Let them work for a moment, in which they cannot do all: who only looks on may look too late."""
        for worker in workers:
            worker.resume()
        threading.Event().wait(MOMENT_S)
        for worker in workers:
            worker.suspend()
        return router(run.url)["durable_routed"] > 0

    try:
        until(have_begun)
        assert 0 < router(run.url)["durable_routed"] < FLIGHTS
        yield workers
    finally:
        for worker in workers:
            if worker.is_running():
                worker.resume()


def read_queue(database_url: str) -> list[Message]:
    """Everything in the durable queue, by PGMQ's own client."""
    client = PGMQueue(conn_string=database_url, init_extension=False, pool_size=1)
    try:
        messages = client.read(QUEUE, vt=1, qty=10_000)
    finally:
        client.close()
    assert isinstance(messages, list)
    return messages


def names(messages: list[Message]) -> Counter[str]:
    return Counter(message.message["event_name"] for message in messages)


def headers(message: Message) -> dict[str, Any]:
    assert message.headers is not None
    return message.headers


DURABLE_NAMES = {name: EXPECTED["events"][name] for name in ("flight.cancelled", "flight.departed", "flight.delayed")}


def test_a_run_prints_the_right_numbers_and_leaves_nothing_behind(machine: Machine) -> None:
    run = machine.start("example", "--json", DATABASE_URL="postgresql://nowhere.invalid/none", TASKER_WORKER__COUNT="7")

    assert run.wait() == 0, run.err.read_text()
    document = run.document()
    assert differences(document, lost_worker=False) == []
    assert set(document) >= {"tasks", "steps", "router", "in_process_bus", "queues", "seconds"}
    assert set(document["tasks"]) == {"total", "complete", "error"}
    assert set(document["steps"]) == {"total", "complete", "error", "pending"}
    assert document["seconds"] > 0
    assert machine.rest() == []
    assert list(machine.working.iterdir()) == []


def test_killing_a_worker_in_the_middle_costs_no_task_and_no_durable_event(machine: Machine) -> None:
    run = machine.start("example", "--json")

    with standing_still(run) as workers:
        workers[0].kill()

    assert run.wait() == 0, run.err.read_text()
    document = run.document()
    assert differences(document, lost_worker=True) == []
    for part in ("tasks", "steps", "queues"):
        assert document[part] == EXPECTED[part]
    assert machine.rest() == []


def test_a_supervisor_told_to_stop_in_the_middle_ends_with_0_and_the_next_one_finishes_the_day(
    machine: Machine,
) -> None:
    run = machine.start("example", "--keep", "--json")
    in_the_middle(run)
    run.supervisor().terminate()

    assert run.wait() == 1, run.err.read_text()
    text = run.err.read_text()
    assert "the supervisor has ended with exit code 0" in text
    assert run.out.read_text() == ""
    match = re.search(r"to go on with it: TASKER_HOME=(\S+) tasker-actors (.*)", text)
    assert match is not None
    home = match[1]
    assert Path(home) == machine.working / ".tasker"

    again = machine.start(*shlex.split(match[2]), TASKER_HOME=home, LOG_FORMAT="json")
    until(lambda: unfinished(again.url) == 0, LIMIT_S)
    assert 0 < router(again.url)["durable_routed"] < FLIGHTS
    statuses = Counter(task["status"] for task in all_tasks(again.url))
    assert statuses == {"complete": EXPECTED["tasks"]["complete"], "error": EXPECTED["tasks"]["error"]}
    messages = read_queue(database_url(machine, home))
    assert names(messages) == DURABLE_NAMES
    assert len({message.message["event_id"] for message in messages}) == len(messages)
    again.process.terminate()
    assert again.wait() == 0, again.err.read_text()
    assert not machine.processes()


# Gauges of workers too, which are gone in the last export; and no span is dropped.
EXPORTED_SOON = {"OTEL_METRIC_EXPORT_INTERVAL": "500", "OTEL_BSP_MAX_QUEUE_SIZE": "100000"}


def test_a_kept_run_can_be_looked_at_as_it_says(machine: Machine) -> None:
    with OtlpReceiver() as receiver:
        look_at_a_kept_run(machine, receiver.environment(**EXPORTED_SOON))
    # What was scraped, with telemetry on, and what was exported are the same figures.
    check_counts(exported(receiver.points()))


def look_at_a_kept_run(machine: Machine, variables: Mapping[str, str]) -> None:
    """Do what the report of an example says, and stop it."""
    run = machine.start("example", "--keep", **variables)

    assert run.wait() == 0, run.err.read_text()
    report = run.out.read_text()
    assert re.search(r"^UA +United Air Lines Inc\. +25 *$", report, re.MULTILINE)
    assert re.search(r"^broadcast +flight\.delayed +125 *$", report, re.MULTILINE)
    correlation_id = _only(r"^correlation id +(\S+)$", report)
    for step in ("validate_flight", "fetch_weather", "lookup_aircraft", "assess_delay"):
        assert re.search(rf"^{step} +1 +complete ", report, re.MULTILINE)
    check_scrape(_only(r"^metrics for Prometheus +(\S+)$", report))

    home = str(machine.working / ".tasker")
    messages = read_queue(database_url(machine, home))
    assert names(messages) == DURABLE_NAMES
    of_the_flight = [message for message in messages if headers(message)["correlation_id"] == correlation_id]
    assert names(of_the_flight) == {"flight.departed": 1, "flight.delayed": 1}
    for message in messages:
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", headers(message)["traceparent"])
        assert headers(message)["correlation_id"] == message.message["metadata"]["correlation_id"]
    [trace_id] = {headers(message)["traceparent"].split("-")[1] for message in of_the_flight}
    assert f"trace id        {trace_id}\n" in report

    # Both were fired in the same moment, so the query promises no order between them.
    assert sorted(of_the_flight_in_sql(report)) == ["flight.delayed", "flight.departed"]
    os.kill(int(_only(r"kill -TERM (\d+)", report)), signal.SIGTERM)
    until(lambda: not machine.processes(), LIMIT_S)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_an_interrupted_example_stops_everything_it_started(
    machine: Machine, number: signal.Signals, code: int
) -> None:
    run = machine.start("example", "--json")
    in_the_middle(run)
    run.process.send_signal(number)

    assert run.wait() == code, run.err.read_text()
    assert f"stopped by {number.name}" in run.err.read_text()
    assert run.out.read_text() == ""
    assert machine.rest() == []


def test_nothing_outlives_an_example_that_is_killed(machine: Machine) -> None:
    run = machine.start("example")
    in_the_middle(run)
    run.process.kill()
    run.wait()

    until(lambda: not machine.rest(), LIMIT_S)


@pytest.fixture
def one_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day with a single flight, which departed."""
    departed = next(flight for flight in flight_data.flights() if flight["dep_time"] is not None)
    monkeypatch.setattr(flight_data, "flights", lambda: [departed])


@pytest.mark.usefixtures("one_flight")
def test_other_numbers_than_the_expected_ones_are_shown_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_example(keep=False, as_json=False, workers=1) == 1

    shown = capsys.readouterr()
    assert "1 complete, 0 error" in shown.out
    assert "Supervisor and database are stopped and removed now" in shown.out
    assert "not as expected: tasks: total is 1, not 930" in shown.err
    assert "not as expected: queues: flights_domain_events is 1, not 1055" in shown.err


def test_a_day_on_which_nothing_moves_is_an_error_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasker_actors.example.day._STALLED_S", 0.5)
    with temporary_home() as home:
        supervisor = ExampleSupervisor(home, workers=1, keep=False)
        url = supervisor.wait_until_ready()
        [worker] = workers_of(psutil.Process(supervisor.pid))
        worker.suspend()
        try:
            with SupervisorClient(url, None) as client:
                day = Day(client, supervisor, url)
                day.create(flight_data.flights()[:2])
                with pytest.raises(TaskerError, match="0 of 2 flights are finished"):
                    day.wait(2, lambda _: None)
        finally:
            worker.resume()
            assert supervisor.stop() == 0


def test_without_the_repository_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flight_data, "FLIGHTS_DIRECTORY", tmp_path)

    with pytest.raises(StartupError, match=r"flights-2013-02-08\.csv: get a clone of it"):
        run_example(keep=False, as_json=True, workers=1)


def check_scrape(url: str) -> None:
    """Compare every metric with what the day comes to."""

    def read() -> Figures:
        return scraped(httpx.get(url, trust_env=False).raise_for_status().text)

    until(lambda: is_at_rest(read()), LIMIT_S)
    found = read()
    check_counts(found)
    check_gauges(found)


def unfinished(url: str) -> int:
    return sum(task["status"] not in ("complete", "error") for task in all_tasks(url))


def all_tasks(url: str) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    parameters: dict[str, str] = {"limit": "200"}
    while True:
        page = httpx.get(f"{url}/v1/tasks", params=parameters, trust_env=False).json()
        tasks.extend(page["tasks"])
        if page["next_cursor"] is None:
            assert len(tasks) == FLIGHTS
            return tasks
        parameters["cursor"] = page["next_cursor"]


def database_url(machine: Machine, home: str) -> str:
    status = machine.start("db", "status", "--json", TASKER_HOME=home)
    assert status.wait() == 0, status.err.read_text()
    url: str = status.document()["database_url"]
    return url


def of_the_flight_in_sql(report: str) -> list[str]:
    """The events that the report's own query finds, by the report's own psql command."""
    psql = shlex.split(_only(r"^the database +(.*)$", report))
    assert psql[0] == str(programs() / "psql")
    query = _only(r"(SELECT .*?;)", report)
    found = subprocess.run([*psql, "-At", "-c", query], check=True, capture_output=True, text=True)
    return [line.split("|")[0] for line in found.stdout.splitlines()]


def _only(pattern: str, text: str) -> str:
    [found] = re.findall(pattern, text, re.MULTILINE | re.DOTALL if "SELECT" in pattern else re.MULTILINE)
    assert isinstance(found, str)
    return found
