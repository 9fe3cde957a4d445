"""Small Python programs that use the package as a library, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

PROGRAM_S = 60.0


@dataclass(frozen=True)
class Ended:
    """What a program left behind: exit code, what it printed, and its log."""

    code: int
    printed: list[str]
    errors: str

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log lines; whatever else is on standard error fails the test."""
        return [json.loads(line) for line in self.errors.splitlines()]

    @property
    def events(self) -> list[str]:
        """The sentences of the log."""
        return [line["event"] for line in self.log]


def run_program(source: str, **variables: str) -> Ended:
    """Run a program to its end, with `variables` added to a quiet environment."""
    environ = {**os.environ, "LOG_FORMAT": "json", "LOG_LEVEL": "info", **variables}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", textwrap.dedent(source)],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )
    ended = Ended(done.returncode, done.stdout.splitlines(), done.stderr)
    assert ended.code == 0, ended
    return ended
