"""The embedded server's files: its log, its URL, and a directory for its socket that nobody else can enter."""

import os
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from psycopg.conninfo import conninfo_to_dict

from tasker_actors.errors import StartupError
from tasker_actors.postgres.embedded.account import ServerAccount
from tasker_actors.postgres.embedded.files import ServerFiles, database_url, make_socket_directory, socket_path

SELF = ServerAccount(uid=os.geteuid(), gid=os.getegid(), switch=False)


@pytest.fixture
def short():
    """A home on a path that leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="tk") as directory:
        yield Path(directory)


def files_below(home):
    files = ServerFiles.below(home)
    files.root.mkdir(parents=True)
    return files


def test_the_url_says_the_same_to_every_reader():
    url = database_url(Path("/run/tasker-1"))
    given = conninfo_to_dict(url)
    assert (given["host"], given["dbname"], given["user"]) == ("/run/tasker-1", "tasker", "postgres")
    parts = urlsplit(url)
    assert parse_qs(parts.query) == {"host": ["/run/tasker-1"]}
    assert parts.path == "/tasker"


def test_the_socket_is_beside_the_data_where_its_path_is_short(short):
    files = files_below(short)
    directory = make_socket_directory(files, SELF)
    assert directory == files.root / "run"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert make_socket_directory(files, SELF) == directory
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 120, "with space", "with,comma", "with'quote"])
def test_elsewhere_it_is_in_a_temporary_directory_under_the_same_name_each_time(short, name):
    files = files_below(short / name)
    directory = make_socket_directory(files, SELF)
    assert directory.parent == Path(tempfile.gettempdir())
    assert directory.stat().st_mode & 0o777 == 0o700
    assert len(os.fsencode(socket_path(directory))) <= 103
    assert make_socket_directory(files, SELF) == directory
    other = make_socket_directory(files_below(short / "other" / name), SELF)
    assert other != directory
    directory.rmdir()
    other.rmdir()


def test_a_directory_that_others_may_enter_is_not_used(short, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/tmp")  # noqa: S108 - no file is made by this name
    files = files_below(short / "with space")
    squatted = make_socket_directory(files, SELF)
    squatted.chmod(0o777)
    with pytest.raises(StartupError, match="no directory takes the socket"):
        make_socket_directory(files, SELF)
    squatted.rmdir()
    squatted.symlink_to(short)
    with pytest.raises(StartupError, match="others may enter it"):
        make_socket_directory(files, SELF)
    squatted.unlink()


def test_a_temporary_directory_that_is_itself_too_long_is_passed_over(short, monkeypatch):
    long = short / ("y" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(long))
    directory = make_socket_directory(files_below(short / "with space"), SELF)
    assert directory.parent == Path("/tmp")  # noqa: S108 - no file is made by this name
    directory.rmdir()


def test_the_end_of_the_log_on_one_line(short):
    files = files_below(short)
    assert files.log_tail() == ""
    files.log.write_bytes(b"".join(b"line %d\n" % number for number in range(2_000)) + b"\xff end\n")
    assert files.log_tail(2) == "line 1999 | \N{REPLACEMENT CHARACTER} end"
