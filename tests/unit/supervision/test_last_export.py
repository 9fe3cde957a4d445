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

last_export.phases.shut_down = shut_down
threading.Thread(target=last_export.end_process, args=(41, 50.0)).start()
threading.Event().wait(30)
"""


@pytest.mark.parametrize("what", ["pass", "raise KeyError", "raise SystemExit", "threading.Event().wait()"])
def test_a_process_that_must_end_ends_whatever_its_last_export_does(what: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(what=what)], stdin=subprocess.DEVNULL, timeout=20, check=False
    )
    assert ended.returncode == 41
