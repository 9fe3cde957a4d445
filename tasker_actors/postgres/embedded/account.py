"""The system account that the embedded server runs under, and its way to the files.

PostgreSQL refuses to run as root. Under root it gets an account that every system has, and what it must reach is opened
to that account: the search permission of directories on the way, nothing that lists or reads them.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

import structlog

from tasker_actors.errors import StartupError

_ACCOUNTS = ("postgres", "nobody")
_READ = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_SEARCH = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """User and group of the server's processes; `switch` says that they differ from ours, which only root can do."""

    uid: int
    gid: int
    switch: bool

    def take(self, path: Path) -> None:
        """Make the account the owner of a file, or of a directory and everything in it; skips what it owns already."""
        if not self.switch or path.stat().st_uid == self.uid:
            return
        for directory, directories, names in os.walk(path):
            for name in (*directories, *names):
                os.chown(Path(directory, name), self.uid, self.gid, follow_symlinks=False)
        # Last, so that an interrupted change is taken up again.
        os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def open_way(self, path: Path) -> None:
        """Let the account pass through every directory above an absolute path; logs each one that was changed."""
        if not self.switch:
            return
        for directory in path.parents:
            found = directory.stat()
            missing = self._class_bits(found) & _SEARCH & ~found.st_mode
            if missing:
                directory.chmod(stat.S_IMODE(found.st_mode) | missing)
                logger.warning(
                    "Search permission added so that PostgreSQL can run under root", directory=str(directory)
                )

    def open_programs(self, directory: Path) -> None:
        """Let the account run what is in a directory tree, which a strict umask at installation may have closed."""
        self.open_way(directory)
        found = directory.stat()
        if not self.switch or not self._class_bits(found) & (_READ | _SEARCH) & ~found.st_mode:
            return
        for path in (directory, *directory.rglob("*")):
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                execute = mode & stat.S_IXUSR
                path.chmod(mode | stat.S_IRGRP | stat.S_IROTH | execute >> 3 | execute >> 6)

    def _class_bits(self, found: os.stat_result) -> int:
        """Return the permission bits that count for the account, by owner, group or others, as the kernel picks."""
        if found.st_uid == self.uid:
            return stat.S_IRWXU
        return stat.S_IRWXG if found.st_gid == self.gid else stat.S_IRWXO


def server_account(data: Path) -> ServerAccount:
    """Return the account for a data directory: its owner's where it exists, so that every start picks the same one.

    Raises StartupError where the directory belongs to another user, and where a root has no account to give.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            msg = f"{data} belongs to user {owner}: start as that user or set TASKER_HOME to another directory"
            raise StartupError(msg)
        return ServerAccount(os.geteuid(), os.getegid(), switch=False)
    if owner:
        try:
            return ServerAccount(owner, pwd.getpwuid(owner).pw_gid, switch=True)
        except KeyError:
            pass  # a volume from another machine: it is given to an account of this one
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
            grp.getgrgid(entry.pw_gid)
        except KeyError:
            continue
        return ServerAccount(entry.pw_uid, entry.pw_gid, switch=True)
    msg = f"PostgreSQL does not run as root, and there is no user {' or '.join(_ACCOUNTS)}: start as another user"
    raise StartupError(msg)
