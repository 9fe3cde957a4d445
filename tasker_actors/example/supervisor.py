"""The supervisor of the example: the command `tasker-actors run` as a process of its own."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

from tasker_actors.cli.options import DEFAULT_URL
from tasker_actors.errors import StartupError, TaskerError
from tasker_actors.example.flight_data import FLIGHTS_DIRECTORY
from tasker_actors.example.log_file import last_words, ready_url

HANDLERS = "tasker_actors.example.flights"

_READY_S = 90.0
_STOP_S = 60.0
_PAUSE_S = 0.05
# A first start on a busy machine makes a new database; the default time limit is for one that is there.
_STARTUP_TIMEOUT_MS = 60_000


class ExampleSupervisor:
    """A supervisor with its database in `home` and its log in `home/supervisor.log`.

    `keep` decides what happens to it when this process ends without stopping it: it goes on, or it stops by itself.
    """

    def __init__(self, home: Path, *, workers: int, keep: bool) -> None:
        self.home = home
        self.log = home / "supervisor.log"
        self._arguments = [
            *("run", "--workers", str(workers), "--bind", _default_address() if keep else "127.0.0.1:0"),
            *("--templates", str(FLIGHTS_DIRECTORY), "--handlers", HANDLERS),
        ]
        if keep:
            command = [str(Path(sysconfig.get_path("scripts"), "tasker-actors"))]
        else:
            command = [sys.executable, "-m", "tasker_actors.example.tethered", str(home)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                [*command, *self._arguments],
                stdin=subprocess.DEVNULL if keep else subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(os.environ, home),
                # The terminal's Ctrl-C is for the example, which stops the supervisor in its turn.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process number of the supervisor."""
        return self._process.pid

    @property
    def command_line(self) -> str:
        """The command that starts such a supervisor on the same database again."""
        return f"TASKER_HOME={shlex.quote(str(self.home))} tasker-actors {shlex.join(self._arguments)}"

    def last_words(self) -> str:
        """Return the end of the log."""
        return last_words(self.log)

    def wait_until_ready(self) -> str:
        """Block until the workers are ready and return the address; raises StartupError if that does not come."""
        deadline = time.monotonic() + _READY_S
        while (url := ready_url(self.log)) is None:
            self.require_running()
            if time.monotonic() > deadline:
                msg = f"the supervisor is not ready after {_READY_S:.0f} s; its log ends with\n{last_words(self.log)}"
                raise StartupError(msg)
            time.sleep(_PAUSE_S)
        return url

    def require_running(self) -> None:
        """Raise a TaskerError with the end of its log if the supervisor has ended."""
        code = self._process.poll()
        if code is not None:
            msg = f"the supervisor has ended with exit code {code}; its log ends with\n{last_words(self.log)}"
            error = TaskerError(msg)
            error.exit_code = code if code > 0 else 1
            raise error

    def terminate(self) -> None:
        """Tell the supervisor to drain and stop, the second time to stop at once; does not wait."""
        self._process.terminate()

    def stop(self) -> int:
        """Stop the supervisor with its workers and its database, and return its exit code; blocks until it has ended.

        One that does not end within 60 s is killed, and its workers with it.
        """
        self.terminate()
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code

    def leave_running(self) -> None:
        """Forget the process, which goes on after this one has ended."""
        # Nobody will ask for its exit code; without one Popen warns that the process still runs.
        self._process.returncode = 0


def _environment(ours: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the environment of the supervisor: the default settings, whatever the user's own supervisor has."""
    inherited = {
        name: value for name, value in ours.items() if not name.startswith("TASKER_") and name != "DATABASE_URL"
    }
    return {
        **inherited,
        "TASKER_HOME": str(home),
        "TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS": str(_STARTUP_TIMEOUT_MS),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
    }


def _default_address() -> str:
    """Return the address where other commands look for a supervisor, or a free port where it is taken."""
    host, _, port = DEFAULT_URL.removeprefix("http://").rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return f"{host}:{port}"
