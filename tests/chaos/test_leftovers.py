"""What is left of a run is found: processes by what they descend from, carry and work in; sessions, locks and files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
import pytest
from chaos.faults import DATABASE
from chaos.guardian import MARK, Life
from chaos.leftovers import left_in_database, left_on_disk, left_running
from support.stoppable_server import stoppable_server
from support.supervised import Supervised
from support.waiting import until

from tasker_actors.supervision.block_directory import make_block_directory

WAIT = "import signal; signal.pause()"

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    found.mkdir()
    return found


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that waits, outside of the run's directory and without its mark unless told otherwise."""
    with ExitStack() as stack:

        def start(directory: Path | None = None, mark: Path | None = None) -> subprocess.Popen[bytes]:
            variables = {} if mark is None else {MARK: str(mark)}
            process = subprocess.Popen([sys.executable, "-c", WAIT], cwd=directory, env={**os.environ, **variables})
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def life(number: int, *processes: subprocess.Popen[bytes]) -> Life:
    """A supervisor that is gone, below which these processes were seen."""
    found = Life(number, Supervised.__new__(Supervised))
    found.processes.update(psutil.Process(each.pid) for each in processes)
    return found


def test_a_process_that_was_seen_below_a_supervisor_is_found_whatever_it_has_become(directory, start):
    process = start()
    assert len(found := list(left_running([life(0), life(3, process)], directory, wait_s=0.1))) == 1
    assert f"left: process {process.pid} of supervisor 3 is still running: {sys.executable}" in found[0]


@pytest.mark.parametrize("trace", ["mark", "directory"])
def test_a_process_that_nobody_saw_start_is_found_by_its_environment_and_by_where_it_works(directory, start, trace):
    process = start(**{trace: directory})
    until(lambda: psutil.Process(process.pid).cmdline()[1:] == ["-c", WAIT])
    found = list(left_running([], directory, wait_s=0.1))
    assert len(found) == 1
    assert found[0].startswith(f"left: process {process.pid} is still running")


def test_a_process_that_is_stopped_still_runs(directory, start):
    process = start()
    process.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    assert len(list(left_running([life(0, process)], directory, wait_s=0.1))) == 1


def test_what_ends_in_time_is_not_left_and_neither_is_what_has_nothing_to_do_with_the_run(directory, start, tmp_path):
    ended, foreign, other_run = start(mark=directory), start(), start(mark=tmp_path / "other")
    seen = life(0, ended)
    ended.kill()
    # It is a zombie from here on: nobody has asked for its exit code.
    assert list(left_running([seen], directory)) == []
    assert foreign.poll() is None
    assert other_run.poll() is None


def test_sessions_and_locks_are_found():
    with stoppable_server() as server:
        server.execute(f"CREATE DATABASE {DATABASE}")
        assert list(left_in_database(server)) == []
        with psycopg.connect(server.url(DATABASE), application_name="left behind") as connection:
            connection.execute("SELECT pg_advisory_lock(7)")
            session, lock = left_in_database(server, wait_s=0.1)
        assert "left behind" in session
        assert "'objid': 7" in lock


def test_files_and_sockets_in_the_directory_are_found(directory):
    (directory / "journal-1.log").touch()
    (directory / "templates").mkdir()
    (directory / "templates" / "half.tmp").touch()
    os.mkfifo(directory / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "socket"))
    found = sorted(left_on_disk(directory, []))
    assert found == [f"left: {name} in the working directory" for name in ("half.tmp", "pipe", "socket")]


def test_memory_blocks_of_our_supervisors_are_found_and_those_of_others_are_not(directory):
    # Made as the runtime makes them: a name that changes there is no longer found here.
    blocks = make_block_directory("a process space")
    try:
        assert list(left_on_disk(directory, [os.getpid()])) == [f"left: memory blocks {blocks}"]
        assert list(left_on_disk(directory, [os.getpid() + 1])) == []
    finally:
        blocks.rmdir()
