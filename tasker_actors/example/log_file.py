"""What the example reads in its supervisor's log, which workers write to as well: one JSON object a line (SPEC 4.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from tasker_actors.example.flights import DELAY_COUNTED

_READY = "Supervisor ready"
_TAIL_LINES = 5
_TAIL_CHARACTERS = 400


def ready_url(log: Path) -> str | None:
    """Return the supervisor's address once it has logged that it is ready."""
    return next((line["url"] for line in _lines(log, _READY)), None)


def delays_counted(log: Path) -> Counter[str]:
    """Return the delays by carrier, as the subscribers of all worker processes counted them.

    Each line has the count of its own process, so the last of each process counts.
    """
    latest = {(line["pid"], line["carrier"]): line["delays"] for line in _lines(log, DELAY_COUNTED)}
    delays: Counter[str] = Counter()
    for (_, carrier), count in latest.items():
        delays[carrier] += count
    return delays


def last_words(log: Path) -> str:
    """Return the end of the log, for an error about a supervisor that is gone."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join(f"  {line[:_TAIL_CHARACTERS]}" for line in lines)


def _lines(log: Path, sentence: str) -> Iterator[dict[str, Any]]:
    """Yield the lines with this sentence.

    What is no JSON is passed over: the last line while it is being written, a killed worker's torn one, and what
    other code writes to standard error.
    """
    wanted = sentence.encode()
    with log.open("rb") as file:
        for text in file:
            if wanted not in text:
                continue
            try:
                line = orjson.loads(text)
            except orjson.JSONDecodeError:
                continue
            if line.get("event") == sentence:
                yield line
