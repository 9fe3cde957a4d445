"""Native code and the phases of telemetry: when it is loaded, and that nothing it does stops the export (SPEC 4.1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.native_code import SOURCES, build, handler, native
from support.otlp_receiver import OtlpReceiver
from support.project import Project
from support.supervised import Supervised, is_running, kill, supervised
from support.waiting import until

HANDLERS = """
import os
import subprocess
import threading
from opentelemetry import metrics
from tasker_actors import step_handler

things = metrics.get_meter("users").create_counter("users.things")

@step_handler("count")
def count():
    things.add(1)
    return {}

@step_handler("plain")
def plain():
    return {}

@step_handler("subprocess")
def in_a_subprocess():
    return {"code": subprocess.run(["sh", "-c", "exit 7"]).returncode}

@step_handler("held")
def held(context):
    never = threading.Event()
    while not os.path.exists(context.get_input("gate")):
        never.wait(0.05)
    return {}
"""

CHANGED = "A native library changed signals that the worker owns; they are as before"
MANY = 20


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("libraries")
    for name in ("answers.c", "hostile.c", "probe.c"):
        build(SOURCES / name, directory)
    return directory


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.module("native_telemetry_handlers", HANDLERS)
    for name in ("plain", "subprocess"):
        project.template(name, {name: {}}, namespace="native")
    return project


def hostile(project: Project) -> None:
    """Write a template whose library does in `tasker_init` what must not be done beside threads and exporters."""
    project.template(
        "rounds",
        {
            "rounds": {"handler": handler("tell_rounds", "hostile.so")},
            "echo": {"handler": handler("echo"), "dependencies": ["rounds"]},
            "count": {"dependencies": ["echo"]},
        },
        namespace="native",
    )


LOOK = """
def look():
    import json, os, signal, sys, threading
    def target(fd):
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # that of the listing itself
            return ""
    trace = sys.modules.get("opentelemetry.trace")
    metrics = sys.modules.get("opentelemetry.metrics._internal")
    logs = sys.modules.get("opentelemetry._logs._internal")
    found = {
        "command": sys.orig_argv,
        "tasks": len(os.listdir("/proc/self/task")),
        "threads": [thread.name for thread in threading.enumerate()],
        "sockets": [int(fd) for fd in os.listdir("/proc/self/fd") if target(fd).startswith("socket:")],
        "exporters": sorted({"grpc", "opentelemetry.sdk", "opentelemetry.exporter"} & set(sys.modules)),
        "globals": [
            getattr(trace, "_TRACER_PROVIDER", None) is not None,
            getattr(metrics, "_METER_PROVIDER", None) is not None,
            getattr(logs, "_LOGGER_PROVIDER", None) is not None,
        ],
    }
    with open(os.environ["PROBE_RESULT"], "a") as file:
        file.write(json.dumps(found) + "\\n")
look()
del look
"""


def test_native_code_is_loaded_between_the_phases_into_a_process_that_has_begun_nothing(
    project: Project, database_url: str, libraries: Path, tmp_path: Path
) -> None:
    """Looked at from inside of `tasker_init`, in every worker: one thread, no socket but the one it was given."""
    project.template("probed", {"probed": {"handler": handler("do_nothing", "probe.so")}}, namespace="native")
    look, result = tmp_path / "look.py", tmp_path / "result"
    look.write_text(LOOK, encoding="utf-8")
    variables = native(
        libraries, PROBE_FILE=str(look), PROBE_RESULT=str(result), TELEMETRY_ENABLED="true",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )  # fmt: skip
    with supervised(project, database_url, variables=variables) as one:
        one.run("probed", namespace="native")
        lines = one.lines
        assert one.stop() == 0

    found = [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()]
    assert len(found) == 2
    for process in found:
        assert "tasker_actors.supervision.worker" in process["command"]
        link_fd = int(process["command"][-2])
        assert process["tasks"] == 1
        assert process["threads"] == ["MainThread"]
        assert process["sockets"] == [link_fd]
        assert process["exporters"] == []
        assert process["globals"] == [False, False, False]
    for slot in (0, 1):
        said = [line["event"] for line in lines if line.get("worker") == slot]
        phase_1 = said.index("Console-only logging initialized (FFI-safe mode)")
        assert said[phase_1 + 1] == "Native library loaded", said


def worked(receiver: OtlpReceiver, *steps: str) -> set[int]:
    """Workers from which the span of a step has come; `steps` are those that count, by default all."""
    return {
        span.resource["tasker.worker.slot"]
        for span in receiver.spans()
        if span.name == "step_execution" and (not steps or span.attributes["step_name"] in steps)
    }


def work_until_all_have(one: Supervised, receiver: OtlpReceiver, slots: set[int]) -> None:
    """Run tasks until spans of the step that counts have come from every worker."""

    def all_have() -> bool:
        one.create_many("rounds", 100, namespace="native")
        until(lambda: one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL") == [{"n": 0}], 60)
        return worked(receiver, "count") >= slots

    until(all_have, 120)


@contextmanager
def children_of(one: Supervised) -> Iterator[list[psutil.Process]]:
    """What the libraries of all workers forked; it survives its worker, and is ended with the block."""
    children: list[psutil.Process] = []
    try:
        children += [child for pid in one.worker_pids() for child in psutil.Process(pid).children()]
        yield children
        children += [child for pid in one.worker_pids() for child in psutil.Process(pid).children()]
        assert one.stop() == 0, one.last_words()
        assert all(child.is_running() for child in children)
    finally:
        for child in children:
            child.kill()


def kill_one(one: Supervised, children: list[psutil.Process]) -> None:
    """Kill a worker: it is replaced although the child that its library forked has its link to the supervisor open."""
    child = children[0]
    killed = child.ppid()
    kill(killed)
    one.wait_workers(lambda workers: len(workers) == 2 and killed not in {each["pid"] for each in workers.values()})
    assert one.restarts() == {"signal": 1}
    assert child.is_running()


def check_figures(receiver: OtlpReceiver, tasks: int) -> None:
    """The last figures have every task once: the runtime's, and those of users' counters, from both workers."""
    executions = {
        point.attributes["step_name"]: point.value for point in receiver.points("tasker.steps.executions.total")
    }
    assert executions == {"rounds": tasks, "echo": tasks, "count": tasks, "plain": 0, "subprocess": 1}
    counted = {point.resource["tasker.worker.slot"]: point.value for point in receiver.points("users.things")}
    assert set(counted) == {0, 1}
    assert sum(counted.values()) == tasks


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_library_that_forks_starts_threads_and_takes_signals_over_harms_nothing(
    project: Project, database_url: str, libraries: Path, protocol: str
) -> None:
    hostile(project)
    with OtlpReceiver() as receiver:
        variables = receiver.environment(protocol, OTEL_LOGS_ENABLED="true", HOSTILE_CHILD_SURVIVES="yes")
        variables |= native(libraries)
        with supervised(project, database_url, variables=variables) as one, children_of(one) as children:
            changed = one.logged(CHANGED)
            assert [line["library"] for line in changed] == [str(libraries.resolve() / "hostile.so")] * 2
            assert set(changed[0]["signals"]) == {"SIGTERM", "SIGINT", "SIGCHLD", "SIGPIPE"}

            kill_one(one, children)
            task = one.run("rounds", namespace="native")
            results = {name: step["result"] for name, step in one.steps(task["task_uuid"]).items()}
            assert is_running(results["rounds"]["forked"])
            assert results["rounds"]["rounds"] > 0
            assert results["rounds"]["pid"] in one.worker_pids()
            of_subprocess = one.run("subprocess", namespace="native")
            assert one.steps(of_subprocess["task_uuid"])["subprocess"]["result"] == {"code": 7}
            # The terminal's Ctrl-C, and an administrator's TERM to all processes, reach workers too.
            workers = [psutil.Process(pid) for pid in one.worker_pids()]
            for worker in workers:
                worker.terminate()
            work_until_all_have(one, receiver, {0, 1})
            assert all(worker.is_running() for worker in workers)
            (tasks,) = one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE name = 'rounds'")
        assert "a handler of the library ran" not in one.log.read_text(encoding="utf-8")
        assert [line["exit_code"] for line in one.logged("Worker ended")] == [-9, 0, 0]

        check_figures(receiver, tasks["n"])
        _, trace_id, span_id, _ = results["echo"]["traceparent"].split("-")
        spans = [span for span in receiver.spans() if span.trace_id == trace_id]
        assert {"task_execution", "step_execution", "handler_call", "result_submission"} <= {one.name for one in spans}
        (call,) = [span for span in spans if span.span_id == span_id]
        assert (call.name, call.attributes["handler"]) == ("handler_call", handler("echo"))
        logs = [log for log in receiver.logs() if log.body == CHANGED]
        assert {log.resource["tasker.worker.slot"] for log in logs} == {0, 1}, "records of phase 1 are exported too"


@pytest.mark.timeout(600)
def test_twenty_workers_with_such_a_library_work_and_export(
    project: Project, database_url: str, libraries: Path, tmp_path: Path
) -> None:
    hostile(project)
    steps = {"held": {}, "rounds": {"handler": handler("tell_rounds", "hostile.so"), "dependencies": ["held"]}}
    project.template("held", steps, namespace="native")
    slots, gate = set(range(MANY)), tmp_path / "gate"
    with OtlpReceiver() as receiver:
        variables = receiver.environment() | native(libraries, TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS="240000")
        # Twenty interpreters at once, on few CPUs: what is measured elsewhere must not count as a hang here.
        variables |= {"TASKER_WORKER__HANG_TIMEOUT_MS": "60000", "TASKER_WORKER__LEASE_MS": "90000"}
        variables |= {"OTEL_LOGS_ENABLED": "true"}
        one = Supervised(project, database_url, workers=MANY, concurrency=1, variables=variables)
        try:
            until(lambda: bool(one.logged("Supervisor ready")) or one.process.poll() is not None, 240)
            one.wait_ready()
            assert len(one.logged(CHANGED)) == MANY
            # A worker with one executor that knows no durations yet takes one step, so each of them gets one.
            one.create_many("held", MANY, namespace="native", context={"gate": str(gate)})
            until(lambda: sum(one.metrics()["tasker_steps_active_executions"].values()) == MANY, 120)
            gate.touch()
            until(lambda: worked(receiver) == slots, 120)
            assert len(one.worker_pids()) == MANY
            assert one.stop() == 0, one.last_words()
            # By itself, or killed where the rest of its end takes longer than it may when twenty end at once.
            assert {line["exit_code"] for line in one.logged("Worker ended")} <= {0, -9}
        finally:
            one.close()
        assert {log.resource.get("tasker.worker.slot") for log in receiver.logs() if log.body == CHANGED} == slots
