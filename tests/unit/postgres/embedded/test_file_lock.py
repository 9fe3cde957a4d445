"""Locks by files: who is alone, who waits, and what a killed process leaves."""

import subprocess
import sys
import time

import pytest

from tasker_actors.errors import StartupError
from tasker_actors.postgres.embedded.file_lock import SharedUse, exclusive

HOLDER = """
import pathlib, sys, time
from tasker_actors.postgres.embedded.file_lock import SharedUse
use = SharedUse(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
"""


def test_the_last_user_knows_that_it_is_the_last(tmp_path):
    first, second = SharedUse(tmp_path / "use"), SharedUse(tmp_path / "use")
    assert not first.is_sole()
    second.release()
    second.release()
    assert first.is_sole()
    assert not SharedUse(tmp_path / "use").is_sole()
    first.release()
    assert not first.is_sole()


def test_a_killed_user_is_none(tmp_path):
    command = [sys.executable, "-c", HOLDER, tmp_path / "use"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        use = SharedUse(tmp_path / "use")
        assert not use.is_sole()
        holder.kill()
        holder.wait()
        assert use.is_sole()
        use.release()


def test_asking_does_not_give_the_use_up(tmp_path):
    first, second = SharedUse(tmp_path / "use"), SharedUse(tmp_path / "use")
    assert not first.is_sole()
    assert not second.is_sole()
    first.release()
    second.release()


def test_who_waits_too_long_for_the_exclusive_lock_is_told(tmp_path):
    with (
        exclusive(tmp_path / "change", time.monotonic() + 1),
        pytest.raises(StartupError, match="starting or stopping"),
        exclusive(tmp_path / "change", time.monotonic() + 0.05),
    ):
        pass
    with exclusive(tmp_path / "change", time.monotonic()):
        pass
