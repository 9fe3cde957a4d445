"""What one run of the example came to, as one value: printed as text, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasker_actors.example.durable_queue import QUEUE
from tasker_actors.example.figures import Figures
from tasker_actors.example.flight_trace import FlightTrace


@dataclass(frozen=True, slots=True)
class Counts:
    """All numbers of a run. `delays` is what the subscriber counted by carrier, `queue_length` counts messages."""

    tasks: Mapping[str, int]
    steps: Mapping[str, int]
    figures: Figures
    delays: Mapping[str, int]
    queue_length: int

    def document(self) -> dict[str, dict[str, int]]:
        """Return the numbers by what they count."""
        return {
            "tasks": dict(self.tasks),
            "steps": dict(self.steps),
            "router": dict(self.figures.router),
            "in_process_bus": dict(self.figures.in_process_bus),
            "queues": {QUEUE: self.queue_length},
            "events": {name: count for (_, name), count in sorted(self.figures.events.items())},
            "delays_by_carrier": dict(sorted(self.delays.items())),
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run can be looked at: supervisor, database, directory, and the command that starts it again."""

    url: str
    database_url: str
    home: Path
    pid: int
    command_line: str


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that is shown. `seconds` is the time from the request for all tasks to the end of the last."""

    counts: Counts
    seconds: float
    trace: FlightTrace
    place: Place

    def document(self, *, keep: bool) -> dict[str, Any]:
        """Return the JSON object of `--json`; with `keep` it says where to look."""
        numbers = {**self.counts.document(), "seconds": round(self.seconds, 3)}
        if not keep:
            return numbers
        place = self.place
        return {
            **numbers,
            "url": place.url,
            "database_url": place.database_url,
            "home": str(place.home),
            "pid": place.pid,
        }
