"""A file of JSON lines, one task context a line, cut into batches that the supervisor takes in one request."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import orjson

from tasker_actors.cli.errors import InputFileError

MAX_BATCH_TASKS = 1_000
# The supervisor takes 2 MiB (SPEC 8); what is left is for the brackets around the batch.
MAX_BATCH_BYTES = 2 * 1024 * 1024 - 1024
_MAX_LINE_BYTES = MAX_BATCH_BYTES + 2
_SKIPPED_PARTS = 64
_SHOWN_FAULTS = 20
STANDARD_INPUT = Path("-")


@dataclass(frozen=True, slots=True)
class Batch:
    """Contexts of consecutive lines as JSON texts, with the number of each one's line."""

    contexts: tuple[bytes, ...]
    lines: tuple[int, ...]

    @property
    def first_line(self) -> int:
        """Where it begins."""
        return self.lines[0]

    @property
    def last_line(self) -> int:
        """Where it ends."""
        return self.lines[-1]


@contextmanager
def open_json_lines(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is read twice; what cannot be (standard input, a pipe) is first copied to a temporary file.

    Raises InputFileError if it cannot be read.
    """
    if path == STANDARD_INPUT:
        with _spooled(sys.stdin.buffer) as copy:
            yield copy
        return
    try:
        source = path.open("rb")
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise InputFileError(msg) from error
    with source:
        if source.seekable():
            yield source
        else:
            with _spooled(source) as copy:
                yield copy


@contextmanager
def _spooled(source: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(source, copy)
        copy.seek(0)
        yield copy


def check_json_lines(lines: BinaryIO, name: str, *, overhead: int) -> int:
    """Read all lines, go back to the start and return how many contexts there are; blank lines do not count.

    Everything is checked before the first task is created, so that a mistake in the last line does not leave the others
    behind. `overhead` is what a request adds to each context, in bytes. Raises InputFileError naming the faulty lines.
    """
    count = 0
    faults: list[str] = []
    for number, line in _contexts(lines):
        count += 1
        fault = _fault(line, overhead)
        if fault is not None:
            faults.append(f"{name}:{number}: {fault}")
    lines.seek(0)
    if not count:
        faults.append(f"{name}: there is no line with a context")
    if faults:
        more = len(faults) - _SHOWN_FAULTS
        shown = faults[:_SHOWN_FAULTS] + ([f"and {more} more"] if more > 0 else [])
        raise InputFileError("\n".join(shown))
    return count


def batches(lines: BinaryIO, *, overhead: int) -> Iterator[Batch]:
    """Cut the lines, which were checked, into batches of at most 1,000 tasks and just under 2 MiB, in order."""
    contexts: list[bytes] = []
    numbers: list[int] = []
    size = 0
    for number, line in _contexts(lines):
        item = len(line) + overhead
        if contexts and (len(contexts) == MAX_BATCH_TASKS or size + item > MAX_BATCH_BYTES):
            yield Batch(tuple(contexts), tuple(numbers))
            contexts, numbers, size = [], [], 0
        contexts.append(line)
        numbers.append(number)
        size += item
    if contexts:
        yield Batch(tuple(contexts), tuple(numbers))


def check_context(text: bytes) -> str | None:
    """Return what is wrong with the JSON text of a context, or None."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"not valid JSON: {error}"
    return None if isinstance(value, dict) else "a context is a JSON object, {…}"


def _fault(line: bytes, overhead: int) -> str | None:
    if len(line) + overhead > MAX_BATCH_BYTES:
        return f"a context of more than {MAX_BATCH_BYTES - overhead} bytes, the most that a request takes"
    return check_context(line)


def _contexts(lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield number and text of each line that is not blank; a byte order mark before the first is dropped.

    A line that is too long for a request comes cut, so that it is a fault and no memory; after the first that goes on
    for much longer nothing is read any more.
    """
    for number, line in enumerate(iter(partial(lines.readline, _MAX_LINE_BYTES), b""), start=1):
        text = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip()
        if text:
            yield number, text
        rest = line
        for _ in range(_SKIPPED_PARTS):
            if len(rest) < _MAX_LINE_BYTES or rest.endswith(b"\n"):
                break
            rest = lines.readline(_MAX_LINE_BYTES)
        else:
            return
