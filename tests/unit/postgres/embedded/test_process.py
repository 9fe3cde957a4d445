"""Which process serves a data directory, as told by `postmaster.pid` and the process table."""

import os
import subprocess

import pytest

from tasker_actors.postgres.embedded.process import (
    Postmaster,
    leftover_processes,
    postmaster_file,
    read_postmaster,
    running_postmaster,
)


def written(data, text):
    postmaster_file(data).write_text(text, encoding="utf-8")
    return read_postmaster(data)


def test_what_a_ready_server_wrote(tmp_path):
    text = "123\n/data\n1700000000\n5432\n/run/x\n\n  1 2\nready   \n"
    assert written(tmp_path, text) == Postmaster(123, "/run/x", "ready")


@pytest.mark.parametrize(("text", "expected"), [("77\n/data\n", Postmaster(77, "", "")), ("", None), ("junk\n", None)])
def test_a_file_that_is_not_written_to_its_end(tmp_path, text, expected):
    assert written(tmp_path, text) == expected


def test_no_file_no_server(tmp_path):
    assert read_postmaster(tmp_path) is None
    assert running_postmaster(tmp_path) is None


def test_a_process_of_that_number_that_works_elsewhere_is_not_the_server(tmp_path):
    written(tmp_path, f"{os.getpid()}\n")
    assert running_postmaster(tmp_path) is None


def test_a_process_that_works_there_is_found_while_it_lives(tmp_path):
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as worker:
        written(tmp_path, f"{worker.pid}\n")
        assert running_postmaster(tmp_path) is not None
        assert leftover_processes(tmp_path) == [worker.pid]
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
        # A zombie: ended, and not yet waited for.
        assert running_postmaster(tmp_path) is None
        assert leftover_processes(tmp_path) == []
