"""One deadline from the signal to the end of the process, whatever hangs (DESIGN G6)."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.settings import Settings
from tasker_actors.supervision.shutdown import LEAST_S, Shutdown


@given(began=st.floats(0, 1e6), total_s=st.floats(0, 600))
def test_the_phases_follow_each_other_and_the_last_ends_by_the_deadline(began, total_s):
    one = Shutdown.within(began, total_s)

    assert began - 1e-6 <= one.handlers_until < one.workers_until < one.settled_until < one.exit_by
    assert one.exit_by == pytest.approx(began + max(total_s, LEAST_S))


@given(total_s=st.floats(0, 600))
def test_what_follows_the_handlers_has_time_and_the_handlers_have_the_most_of_a_long_deadline(total_s):
    one = Shutdown.within(0.0, total_s)

    assert LEAST_S <= one.exit_by - one.handlers_until <= 9.0
    assert one.handlers_until >= total_s * 0.64 - LEAST_S


def test_the_default_is_over_before_a_service_manager_kills():
    drain_s = Settings().supervisor.drain_timeout_ms / 1000
    one = Shutdown.within(0.0, drain_s)

    assert one.exit_by == 25.0  # the usual limit is 30
    assert one.handlers_until == 16.0


PROGRAM = """
import os, sys, threading, time
from tasker_actors.supervision.shutdown import ExitDeadline
from tasker_actors.telemetry.logging import init_console_only

{before}
deadline = ExitDeadline()
deadline.start()
assert deadline.left_s() == 10.0
deadline.arm(time.monotonic() + 600)
deadline.arm(time.monotonic() + 0.2)
assert deadline.left_s() <= 0.2
deadline.arm(time.monotonic() + 600)
{then}
"""

BLOCKED_LOG = """
import fcntl
init_console_only()
reading, writing = os.pipe()
os.dup2(writing, 2)
os.set_blocking(2, False)
try:
    while os.write(2, b"x" * 4096):
        pass
except BlockingIOError:
    os.set_blocking(2, True)
"""


@pytest.mark.parametrize(
    ("before", "then", "code"),
    [
        ("", "threading.Event().wait()", 5),
        ("", "deadline.exit_code = 0; threading.Event().wait()", 0),
        ("", "import atexit; atexit.register(threading.Event().wait); sys.exit(3)", 5),
        ("", "threading.Thread(target=threading.Event().wait).start()", 5),
        (BLOCKED_LOG, "threading.Event().wait()", 5),
        (BLOCKED_LOG, "os.write(2, b'x' * 4096)", 5),
    ],
    ids=["a wait", "a code", "an exit handler", "another thread", "a log that nobody reads", "a write to it"],
)
def test_a_process_ends_at_its_deadline_whatever_it_hangs_in(before: str, then: str, code: int):
    program = PROGRAM.format(before=before, then=then)

    ended = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, timeout=60, check=False)

    assert ended.returncode == code
