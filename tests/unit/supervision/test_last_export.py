"""A worker that must end ends, whatever its last export does; in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import threading
from tasker_actors.supervision import last_export

def shut_down(limit_ms):
    {what}

def say():
    {says}

last_export.phases.shut_down = shut_down
threading.Thread(target=last_export.end_process, args=(41, 50.0, say)).start()
threading.Event().wait(30)
"""


BAD = ["raise KeyError", "raise SystemExit", "threading.Event().wait()"]


@pytest.mark.parametrize(
    ("what", "says"), [("pass", "pass"), *((bad, "pass") for bad in BAD), *(("pass", bad) for bad in BAD)]
)
def test_a_process_that_must_end_ends_whatever_its_last_export_and_its_last_line_do(what: str, says: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(what=what, says=says)], stdin=subprocess.DEVNULL, timeout=20, check=False
    )
    assert ended.returncode == 41
