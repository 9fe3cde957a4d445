"""The example's supervisor as a process: what it is started with, and how its end is noticed."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import until

from tasker_actors.errors import TaskerError
from tasker_actors.example.supervisor import ExampleSupervisor, _default_address, _environment


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[ExampleSupervisor]:
    """A supervisor that ends at once: it cannot run without workers."""
    supervisor = ExampleSupervisor(tmp_path, workers=0, keep=False)
    yield supervisor
    supervisor.stop()


def test_a_supervisor_that_ends_too_early_is_an_error_with_its_reason_and_exit_code(broken: ExampleSupervisor) -> None:
    with pytest.raises(TaskerError, match="ended with exit code 2") as raised:
        broken.wait_until_ready()

    assert raised.value.exit_code == 2
    assert "worker.count" in str(raised.value)
    assert broken.stop() == 2


def test_the_command_line_starts_the_same_again(broken: ExampleSupervisor, tmp_path: Path) -> None:
    home, command, *arguments = shlex.split(broken.command_line)

    assert (home, command, arguments[0]) == (f"TASKER_HOME={tmp_path}", "tasker-actors", "run")
    assert arguments[arguments.index("--handlers") + 1] == "tasker_actors.example.flights"


def test_a_kept_supervisor_is_the_installed_command_and_leaves_no_warning(tmp_path: Path) -> None:
    supervisor = ExampleSupervisor(tmp_path, workers=0, keep=True)

    until(lambda: "worker.count" in supervisor.last_words())
    supervisor.leave_running()


def test_what_the_user_set_for_another_supervisor_is_not_for_this_one() -> None:
    theirs = {
        "PATH": "/bin",
        "OTEL_SERVICE_NAME": "mine",
        "TASKER_ENV": "production",
        "TASKER_WORKER__CONCURRENCY": "1",
        "DATABASE_URL": "postgresql://precious/data",
        "LOG_FORMAT": "console",
        "LOG_LEVEL": "error",
    }

    environment = _environment(theirs, Path("/somewhere"))

    assert environment.pop("TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS").isdigit()
    assert environment == {
        "PATH": "/bin",
        "OTEL_SERVICE_NAME": "mine",
        "TASKER_HOME": "/somewhere",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
    }


def test_the_default_address_is_left_to_whoever_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr("tasker_actors.example.supervisor.DEFAULT_URL", f"http://127.0.0.1:{port}")
        assert _default_address() == "127.0.0.1:0"

    assert _default_address() == f"127.0.0.1:{port}"
