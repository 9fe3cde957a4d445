"""The account of the server under root, and the way to its files."""

import os
import pwd
import stat

import pytest

from tasker_actors.errors import StartupError
from tasker_actors.postgres.embedded.account import ServerAccount, server_account

STRANGER = ServerAccount(uid=os.geteuid() + 4_321, gid=os.getegid() + 4_321, switch=True)
SELF = ServerAccount(uid=os.geteuid(), gid=os.getegid(), switch=False)
COLLEAGUE = ServerAccount(uid=os.geteuid() + 4_321, gid=os.getegid(), switch=True)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def closed(tmp_path):
    """A directory inside one that only its owner may enter."""
    outer = tmp_path / "outer"
    (outer / "inner").mkdir(parents=True)
    outer.chmod(0o700)
    return outer


def test_the_way_is_opened_for_passing_and_not_for_reading(closed):
    STRANGER.open_way(closed / "inner" / "data")
    assert mode(closed) == 0o701


def test_a_member_of_the_group_gets_the_groups_permission(closed):
    COLLEAGUE.open_way(closed / "inner" / "data")
    assert mode(closed) == 0o710


def test_an_open_way_and_ones_own_account_change_nothing(closed):
    SELF.open_way(closed / "inner" / "data")
    assert mode(closed) == 0o700
    closed.chmod(0o755)
    STRANGER.open_way(closed / "inner" / "data")
    assert mode(closed) == 0o755


def test_programs_of_a_strict_installation_can_be_run_and_data_stays_no_program(closed):
    program = closed / "inner" / "postgres"
    library = closed / "inner" / "library.so"
    program.touch()
    library.touch()
    for path, permissions in ((program, 0o700), (library, 0o600), (closed / "inner", 0o700)):
        path.chmod(permissions)
    (closed / "inner" / "link").symlink_to(closed / "nowhere")
    STRANGER.open_programs(closed / "inner")
    assert (mode(program), mode(library), mode(closed / "inner")) == (0o755, 0o644, 0o755)


def test_taking_what_one_has_changes_nothing(tmp_path):
    ServerAccount(os.geteuid(), os.getegid(), switch=True).take(tmp_path)
    SELF.take(tmp_path)
    assert tmp_path.stat().st_uid == os.geteuid()


def test_data_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(StartupError, match=f"{tmp_path} belongs to user"):
        server_account(tmp_path)
    assert server_account(tmp_path / "missing").switch is False


def test_under_root_the_owner_of_the_data_is_kept(tmp_path, monkeypatch):
    entry = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("pathlib.Path.stat", lambda _: os.stat_result([0, 0, 0, 0, entry.pw_uid, 0, 0, 0, 0, 0]))
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    assert server_account(tmp_path) == ServerAccount(entry.pw_uid, entry.pw_gid, switch=True)


def test_under_root_an_owner_who_is_unknown_here_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("pathlib.Path.stat", lambda _: os.stat_result([0, 0, 0, 0, 3_999_999, 0, 0, 0, 0, 0]))
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    found = server_account(tmp_path)
    assert found.switch
    assert pwd.getpwuid(found.uid).pw_name in ("postgres", "nobody")


def test_a_root_without_any_account_is_told(tmp_path, monkeypatch):
    def unknown(_):
        raise KeyError

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(StartupError, match="does not run as root"):
        server_account(tmp_path / "missing")
