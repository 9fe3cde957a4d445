"""The command `tasker-actors` on a tether: when its standard input ends, it stops and removes the example's directory.

The example starts its supervisor with this as a module, with a pipe from itself as standard input. If the example is
killed, it can do nothing more; but the kernel closes its end of the pipe, and the supervisor drains and stops as after
any SIGTERM. In an orderly end the example stops the supervisor first, and removes the directory itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from tasker_actors.cli.app import execute


class Tether:
    """Watches standard input from a thread of its own; `is_torn` once that has ended."""

    def __init__(self) -> None:
        self.is_torn = False

    def watch(self) -> None:
        """Block until standard input ends, and send this process a SIGTERM."""
        while os.read(sys.stdin.fileno(), 1024):
            pass
        self.is_torn = True
        os.kill(os.getpid(), signal.SIGTERM)


def main(home: Path, *arguments: str) -> int:
    """Run the command that the arguments name, and return its exit code; `home` is what a torn tether removes."""
    tether = Tether()
    threading.Thread(target=tether.watch, name="tether", daemon=True).start()
    code = execute(arguments)
    if tether.is_torn:
        shutil.rmtree(home)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
