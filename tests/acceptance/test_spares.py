"""Workers load beside their supervisor, whatever users' modules do to it meanwhile."""

from __future__ import annotations

import os
import signal

import pytest
from support.project import Project
from support.supervised import supervised

HANDLERS = """
import os
import sys
import threading
from pathlib import Path

import psutil
from tasker_actors import step_handler

WORKER = "tasker_actors.supervision.worker"

@step_handler("go")
def go():
    pass

if WORKER not in sys.orig_argv:
    loading = [child.pid for child in psutil.Process().children() if WORKER in child.cmdline()]
    forked = os.fork()
    if not forked:
        threading.Event().wait()  # with every descriptor that the supervisor has
    Path("noted.txt").write_text(f"{forked} {' '.join(map(str, loading))}")
"""


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path / "project")
    found.module("spare_handlers", HANDLERS)
    found.template("one", {"go": {}}, namespace="spares")
    return found


def test_the_first_workers_are_processes_that_were_there_before_users_modules_were_loaded(project, database_url):
    noted = project.directory / "noted.txt"
    try:
        with supervised(project, database_url) as one:
            loading = {int(pid) for pid in noted.read_text().split()[1:]}
            assert len(loading) == 2
            assert {worker["pid"] for worker in one.workers().values()} == loading
            one.run("one", namespace="spares")
    finally:
        os.kill(int(noted.read_text().split()[0]), signal.SIGKILL)
