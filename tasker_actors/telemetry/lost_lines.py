"""How many lines of the log were lost, for a counter that somebody else keeps."""

from __future__ import annotations

from tasker_actors.telemetry.logging import log_output


class LostLines:
    """Asked by one thread. Asked, and not told: whoever loses a line must neither take a lock nor send a message."""

    def __init__(self) -> None:
        self._told = 0

    def take(self) -> int:
        """Return how many lines standard error did not take since this was last asked."""
        output = log_output()
        lost = 0 if output is None else output.lost_lines
        new, self._told = lost - self._told, lost
        return new
