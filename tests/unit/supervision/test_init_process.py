"""The first process of a container reaps what is left to it, hands signals on, and ends as its child does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.waiting import until

# Made a subreaper, a process gets orphans as the first one of a container does.
PROGRAM = """
import ctypes, os, signal, subprocess, sys, threading
from tasker_actors.supervision.init_process import leave_init_behind

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
leave_init_behind()
{child}
"""
ORPHANS = """
ended = subprocess.run(["sh", "-c", "for i in 1 2 3; do (sleep 0.2 & ) ; done; exit 9"]).returncode
print(ended, flush=True)
sys.stdin.read(1)
sys.exit(7)
"""
SIGNALS = """
heard = []
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, lambda number, _frame: heard.append(number))
print(os.getpid(), flush=True)
pause = threading.Event()
while signal.SIGTERM not in heard:
    pause.wait(0.01)
print(sorted(signal.Signals(number).name for number in heard), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def start(child: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(child=child)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform != "linux", reason="containers are Linux's")
def test_orphans_are_reaped_and_the_exit_codes_of_others_are_not_taken():
    with start(ORPHANS) as init:
        assert init.stdout is not None
        assert init.stdin is not None
        assert init.stdout.readline() == "9\n"
        process = psutil.Process(init.pid)
        until(lambda: len(process.children()) == 1)  # the orphans have come, ended, and are gone

        init.stdin.write("x")
        init.stdin.flush()

        assert init.wait(20) == 7


@pytest.mark.skipif(sys.platform != "linux", reason="containers are Linux's")
def test_signals_are_handed_on_once_and_an_end_by_a_signal_is_told_as_shells_do():
    with start(SIGNALS) as init:
        assert init.stdout is not None
        child = int(init.stdout.readline())
        assert psutil.Process(child).ppid() == init.pid
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            init.send_signal(number)
        assert "SIGTERM" in init.stdout.readline()
        assert init.wait(20) == 128 + signal.SIGKILL
    assert not Path(f"/proc/{child}").exists()
