"""The directories of a run: temporary and gone, or kept where other commands look."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tasker_actors.example.home import kept_home, temporary_home
from tasker_actors.postgres.embedded import EmbeddedServer
from tasker_actors.postgres.embedded.files import ServerFiles
from tasker_actors.postgres.embedded.process import running_postmaster


@pytest.fixture(autouse=True)
def _temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


def test_a_temporary_home_is_new_and_leaves_nothing() -> None:
    with temporary_home() as first, temporary_home() as second:
        assert first != second
        (first / "supervisor.log").touch()

    assert not first.exists()
    assert not second.exists()


def test_a_server_whose_supervisor_was_killed_goes_with_the_temporary_home() -> None:
    with temporary_home() as home:
        left_behind = EmbeddedServer.start(home, startup_timeout_ms=60_000)
        left_behind._let_go()
        postmaster = running_postmaster(ServerFiles.below(home).data)
        assert postmaster is not None

    assert not _runs(postmaster.pid)
    assert not home.exists()


def test_the_configured_home_is_kept_if_it_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert kept_home(Path(".tasker")) == tmp_path / ".tasker"
    assert kept_home(Path(".tasker")) == tmp_path / ".tasker"
    (tmp_path / ".tasker" / "postgres").mkdir()
    other = kept_home(Path(".tasker"))
    assert other.parent == tmp_path / "temporary"
    assert other.is_dir()


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
