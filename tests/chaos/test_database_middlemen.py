"""A pooler before the server, and a server of our own: they die, come back, and nothing is lost (DESIGN G4)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.away import assert_nothing_lost, create_chains, database_check, finished, make_project, unfinished
from support.servers import DatabaseServer, pooler
from support.supervised import kill, supervised
from support.waiting import until

from tasker_actors.postgres.embedded import running_url
from tasker_actors.postgres.embedded.files import ServerFiles
from tasker_actors.postgres.embedded.process import running_postmaster

CHAINS = 60


def test_a_pooler_that_is_started_anew_costs_nothing(tmp_path: Path, debian_server: DatabaseServer):
    program = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("no pgbouncer: install it")
    with (
        debian_server.database(migrated=True) as url,
        pooler(Path(program), url) as between,
        supervised(make_project(tmp_path / "project"), between.url) as one,
    ):
        pids = one.worker_pids()
        create_chains(one, CHAINS)
        until(lambda: finished(one) > 5, 60)
        between.stop()
        until(lambda: database_check(one) is not None)
        assert one.http.get("/health/live").status_code == 200
        between.start()
        until(lambda: unfinished(one) == 0, 120)
        until(lambda: database_check(one) is None)
        assert_nothing_lost(one, CHAINS)
        assert (one.worker_pids(), one.restarts()) == (pids, {})


def test_an_embedded_server_that_is_killed_comes_back_and_work_goes_on(tmp_path: Path):
    home = tmp_path / "home"
    project = make_project(tmp_path / "project")
    with supervised(project, "", variables={"TASKER_HOME": str(home)}) as one:
        url = running_url(home)
        assert url is not None
        one.database_url = url
        pids = one.worker_pids()
        data = ServerFiles.below(home).data
        create_chains(one, CHAINS)
        until(lambda: finished(one) > 5, 60)
        killed = running_postmaster(data)
        assert killed is not None

        kill(killed.pid)

        assert (data / "postmaster.pid").exists()
        until(lambda: (found := running_postmaster(data)) is not None and found.pid != killed.pid, 60)
        until(lambda: database_check(one) is None, 60)
        until(lambda: unfinished(one) == 0, 120)
        assert_nothing_lost(one, CHAINS)
        assert len(one.logged("The embedded PostgreSQL had died and was started again")) == 1
        assert (one.worker_pids(), one.restarts()) == (pids, {})
        assert one.stop() == 0
    assert running_postmaster(data) is None
