"""How `tasker-actors run` ends when it cannot start or must give up: code and words (SPEC 7)."""

from __future__ import annotations

import socket
import time

import psycopg
import pytest
from support.cutting_proxy import CuttingProxy
from support.project import Project
from support.supervised import Supervised, run_to_end, supervised

NOWHERE = "postgresql://somebody:sesame-open@127.0.0.1:1/nothing"


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path / "project")
    found.module("exit_handlers", "from tasker_actors import step_handler\n@step_handler('go')\ndef go():\n    pass\n")
    found.template("one", {"go": {}}, namespace="exits")
    return found


def test_a_database_that_is_not_there_is_3_within_the_time_limit_and_no_password_is_shown(project):
    began = time.monotonic()

    code, output = run_to_end(
        project, arguments=("--bind", "127.0.0.1:0"), DATABASE_URL=NOWHERE, TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS="1500"
    )

    assert code == 3
    assert "127.0.0.1:1" in output
    assert "sesame" not in output
    # Importing and ending take their time on a busy machine; the default limit would be 15 s more.
    assert time.monotonic() - began < 13


def test_an_address_that_is_no_host_is_3_and_named(project):
    code, output = run_to_end(
        project,
        DATABASE_URL="postgresql://somebody:sesame-open@no-such-host.invalid/nothing",
        TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS="1500",
    )

    assert code == 3
    assert "no-such-host.invalid" in output
    assert "sesame" not in output


def test_a_port_in_use_is_3_and_named(project, database_url):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        code, output = run_to_end(project, arguments=("--bind", address), DATABASE_URL=database_url)

    assert code == 3
    assert address.partition(":")[2] in output
    assert "in use" in output


def test_an_unknown_handler_is_3_and_names_file_and_step(project):
    path = project.template("lost", {"first": {"handler": "go"}, "second": {"handler": "goo"}}, namespace="exits")

    code, output = run_to_end(project, DATABASE_URL=NOWHERE)

    assert code == 3
    assert path.name in output
    assert "second" in output
    assert "'go'" in output  # the nearest known one


def test_a_module_that_raises_at_import_is_3_and_names_module_line_and_reason(project):
    project.module("broken_module", "x = 1\nraise RuntimeError('no licence')\n")

    code, output = run_to_end(project, DATABASE_URL=NOWHERE)

    assert code == 3
    assert "broken_module" in output
    assert "no licence" in output
    assert "line 2" in output


def test_a_module_that_raises_in_a_worker_only_is_3_at_once_and_no_crash_loop(project, database_url):
    project.module(
        "worker_only",
        "import sys\nif 'supervision.worker' in ' '.join(sys.orig_argv):\n    raise RuntimeError('not here')\n",
    )

    code, output = run_to_end(project, DATABASE_URL=database_url)

    assert code == 3
    assert "not here" in output


def test_all_settings_that_cannot_be_read_are_2_and_named_at_once(project):
    unreadable = {"TASKER_WORKER__COUNT": "many", "TASKER_COMMIT__MAX_BATCH": "-1", "TASKER_WORKER__CUONT": "2"}

    code, output = run_to_end(project, DATABASE_URL=NOWHERE, **unreadable)

    assert code == 2
    for variable in unreadable:
        assert variable in output


def test_all_telemetry_variables_that_cannot_be_read_are_2_and_named_at_once(project):
    unreadable = {"OTEL_TRACES_SAMPLER_ARG": "half", "TELEMETRY_ENABLED": "perhaps", "LOG_LEVEL": "loud"}

    code, output = run_to_end(project, DATABASE_URL=NOWHERE, **unreadable)

    assert code == 2
    for variable in unreadable:
        assert variable in output


def test_binding_beyond_loopback_without_a_key_is_2(project):
    code, output = run_to_end(project, arguments=("--bind", "0.0.0.0:0"), DATABASE_URL=NOWHERE)

    assert code == 2
    assert "TASKER_API_KEY" in output


def test_a_template_with_ten_faults_is_2_and_reports_ten(project):
    project.file(
        "templates/faulty.yaml",
        """
        name: faulty
        namespace_name: Not-A-Namespace
        version: 1.0.0
        steps:
          - {name: a, handler: {callable: go}, dependencies: [nowhere], timeout_seconds: -1}
          - {name: b, handler: {callable: go}, retry: {max_attempts: -1, backoff: often}}
          - {name: c, handler: {}, type: unheard_of}
          - name: d
            handler: {callable: go}
            publishes_events: [{name: NoDots, delivery_mode: pigeon, condition: sometimes}]
        """,
    )
    of_step = {
        "a": ("dependencies[0]: ", "timeout_seconds: "),
        "b": ("retry.max_attempts: ", "retry.backoff: "),
        "c": ("handler.callable: ", "type: "),
        "d": tuple(f"publishes_events[0].{key}: " for key in ("name", "delivery_mode", "condition")),
    }
    expected = ["namespace_name: ", *(f"step {step}: {key}" for step, keys in of_step.items() for key in keys)]

    code, output = run_to_end(project, DATABASE_URL=NOWHERE)

    assert code == 2
    faults = [line.partition("faulty.yaml: ")[2] for line in output.splitlines() if "faulty.yaml: " in line]
    assert len(expected) == len(faults) == 10, output
    assert all(any(fault.startswith(words) for fault in faults) for words in expected), faults


@pytest.fixture(scope="module")
def crashed(tmp_path_factory, embedded_server):
    """A project whose supervisor ended because its worker crashed too often: project, database, supervisor."""
    project = Project(tmp_path_factory.mktemp("crashed") / "project")
    project.module(
        "crashing",
        "import os\nfrom tasker_actors import step_handler\n@step_handler('go')\ndef go():\n    os._exit(9)\n",
    )
    project.template("one", {"go": {"retry": {"max_attempts": 50, "backoff": "none"}}}, namespace="exits")
    with embedded_server.database(migrated=True) as url:
        one = Supervised(project, url, workers=1, variables={"TASKER_WORKER__RESTART_LIMIT": "2"})
        try:
            one.wait_ready().create("one", namespace="exits")
            one.wait_ended()
            yield project, url, one
        finally:
            one.close()


def test_too_many_crashes_are_4_with_the_last_reason(crashed):
    _, _, one = crashed

    assert one.process.returncode == 4
    assert "crashed more than 2 times within 30000 ms" in one.last_words()
    assert "exit" in one.logged("The supervisor ends")[-1]["error"]
    # What it ran is back in the queue, for a supervisor that somebody starts when the cause is found.
    step = one.rows("SELECT state, attempts, worker_id FROM tasker.steps")
    assert step == [{"state": "waiting_for_retry", "attempts": 3, "worker_id": None}]


def test_another_content_under_a_known_version_is_2_outside_of_development(crashed):
    project, url, _ = crashed
    project.template("one", {"go": {}, "more": {"handler": "go"}}, namespace="exits")

    code, output = run_to_end(project, DATABASE_URL=url)

    assert code == 2
    assert "exits/one" in output
    assert "1.0.0" in output


def test_options_that_cannot_be_used_are_2_and_named_at_once(project):
    code, output = run_to_end(project, arguments=("--workers", "0", "--bind", "nonsense"), DATABASE_URL=NOWHERE)

    assert code == 2
    assert "worker.count" in output
    assert "http.bind" in output


@pytest.mark.parametrize("statement", [b"INTO tasker.templates", b"process_space ="])
def test_a_connection_that_is_lost_in_the_middle_of_a_start_does_not_end_it(project, embedded_server, statement):
    """Templates are registered, and what dead workers left is settled, as soon as the database answers again."""
    with embedded_server.database(migrated=True) as url:
        proxy = CuttingProxy(url)
        proxy.cut(statement, "request")
        try:
            with supervised(project, proxy.url) as one:
                assert len(one.logged("The start waits for the database")) == 1
        finally:
            proxy.close()


def test_a_supervisor_that_loses_an_actor_of_its_own_ends_with_4_and_names_it(project, embedded_server):
    """Its maintenance cannot write heartbeats any more, whatever it tries: nothing but a new start can help."""
    with embedded_server.database(migrated=True) as url:
        one = Supervised(project, url)
        try:
            one.wait_ready()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("ALTER TABLE tasker.workers RENAME COLUMN heartbeat_at TO other")
            assert one.wait_ended() == 4
        finally:
            one.close()
        assert "the supervisor's actor maintenance failed for good" in one.last_words()
        assert one.worker_pids() == set()
