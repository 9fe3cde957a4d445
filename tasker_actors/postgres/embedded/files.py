"""The embedded server's files: where they are, its settings, and a directory for its socket."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tasker_actors.errors import StartupError
from tasker_actors.postgres.embedded.account import ServerAccount

PORT = 5432
SUPERUSER = "postgres"
DATABASE = "tasker"
_SOCKET_NAME = f".s.PGSQL.{PORT}"
_LOG_LIMIT_BYTES = 16 * 1024 * 1024
_PLAIN_PATH = re.compile(r"[^\s,'\"\\]+")
_INCLUDE = "include = 'tasker.conf'"

# ALTER SYSTEM still overrides every one of these.
_SETTINGS = """\
# Written anew at each start. To change a setting for good, use ALTER SYSTEM.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket_directory}'
unix_socket_permissions = 0700
cluster_name = 'tasker_actors'
max_connections = 200
shared_buffers = 128MB
wal_buffers = 16MB
min_wal_size = 256MB
max_wal_size = 1GB
fsync = on
synchronous_commit = on
jit = off
# Short transactions on two cores; and containers have little shared memory for parallel plans.
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
autovacuum_naptime = 10s
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %a '
# The text of a failed statement would put payloads into the log.
log_min_error_statement = fatal
"""


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """Absolute paths below `$TASKER_HOME/postgres`."""

    root: Path

    @classmethod
    def below(cls, home: Path) -> ServerFiles:
        """Return the files of a home directory, which need not exist yet."""
        return cls(Path(os.path.realpath(home)) / "postgres")

    @property
    def data(self) -> Path:
        """The data directory, owned by the server's account."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """What the server writes; the last two start-to-start parts of at most 16 MiB and the running one are kept."""
        return self.root / "server.log"

    @property
    def change_lock(self) -> Path:
        """Locked while one process starts or stops the server."""
        return self.root / "change.lock"

    @property
    def use_lock(self) -> Path:
        """Share-locked by each process that uses the server, for as long as it lives."""
        return self.root / "use.lock"

    def rotate_log(self) -> None:
        """Move a log that has grown large aside, so that two of them is the most there is."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))

    def log_tail(self, lines: int = 5) -> str:
        """Return the last lines of the log on one line, for an error."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 4096))
            return " | ".join(file.read().decode(errors="replace").splitlines()[-lines:])

    def write_settings(self, socket_directory: Path, account: ServerAccount) -> None:
        """Write our settings beside the server's own file, which includes them."""
        quoted = str(socket_directory).replace("'", "''")
        ours = self.data / "tasker.conf"
        ours.write_text(_SETTINGS.format(port=PORT, socket_directory=quoted), encoding="utf-8")
        account.take(ours)
        main = self.data / "postgresql.conf"
        text = main.read_text(encoding="utf-8")
        if _INCLUDE not in text:
            main.write_text(f"{text}\n{_INCLUDE}\n", encoding="utf-8")


def database_url(socket_directory: Path) -> str:
    """Return the URL of the embedded server's database, for psql, for every client on libpq, and for `pgmq`'s.

    The password is not one: no password is asked for. The `pgmq` client overlooks `?host=` and pastes the parts of a
    URL into `key=value` text, password last, unquoted; the host in there is what it connects to.
    """
    directory = str(socket_directory)
    return f"postgresql://{SUPERUSER}:{quote(f'unused host={directory}', safe='')}@/{DATABASE}?host={quote(directory)}"


def socket_path(socket_directory: Path) -> Path:
    """Return the socket that the server makes in a directory."""
    return socket_directory / _SOCKET_NAME


def make_socket_directory(files: ServerFiles, account: ServerAccount) -> Path:
    """Return a directory that only the server's account can enter, on a path short enough for a socket.

    Whoever reaches the socket is let in as superuser: its directory is what protects it. Beside the data if that path
    is short enough (107 bytes on Linux), plain (no comma, by which libpq separates hosts, no space or quote) and takes
    sockets; else in a temporary directory, under the same name each time, so that the URL outlives a restart.
    """
    short_name = f"tasker-{account.uid}-{hashlib.sha256(os.fsencode(files.root)).hexdigest()[:12]}"
    # A TMPDIR may be too long itself.
    places = dict.fromkeys((tempfile.gettempdir(), "/tmp"))  # noqa: S108 - checked for its owner below
    candidates = [files.root / "run", *(Path(place) / short_name for place in places)]
    reasons = []
    for directory in candidates:
        is_ours = False
        try:
            _make_private(directory, account)
            is_ours = True
            _try_socket(directory)
        except OSError as error:
            reasons.append(f"{directory}: {error}")
            if is_ours:
                with suppress(OSError):  # it may hold something
                    directory.rmdir()
        else:
            return directory
    msg = f"no directory takes the socket of the embedded server: {'; '.join(reasons)}"
    raise StartupError(msg)


def _make_private(directory: Path, account: ServerAccount) -> None:
    """Make the directory, or take it as it is if it belongs to the account and nobody else can enter it."""
    if not _PLAIN_PATH.fullmatch(str(directory)):
        msg = "not a path that every client can be given"
        raise OSError(msg)
    if not directory.is_symlink() and not directory.exists():
        directory.mkdir(mode=0o700)
        account.take(directory)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        msg = "belongs to somebody else, or others may enter it"
        raise OSError(msg)


def _try_socket(directory: Path) -> None:
    """Raise OSError if a socket with a name as long as the server's cannot be made here."""
    probe = directory / ".probe.socket"
    probe.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(probe))
    probe.unlink()
