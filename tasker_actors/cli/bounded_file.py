"""Reads a file that a user named, as long as it is of a sensible size: it may be a device that never ends."""

from __future__ import annotations

import sys
from pathlib import Path

from tasker_actors.cli.errors import InputFileError
from tasker_actors.cli.json_lines import STANDARD_INPUT


def read_bounded(file: Path, option: str, max_bytes: int) -> bytes:
    """Return what is in it; InputFileError, naming the option, if that is more or it cannot be read."""
    try:
        if file == STANDARD_INPUT:
            content = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with file.open("rb") as stream:
                content = stream.read(max_bytes + 1)
    except OSError as error:
        msg = f"{option} {file}: {error.strerror}"
        raise InputFileError(msg) from error
    if len(content) > max_bytes:
        msg = f"{option} {file}: it has more than the {max_bytes} bytes that a request takes"
        raise InputFileError(msg)
    return content
