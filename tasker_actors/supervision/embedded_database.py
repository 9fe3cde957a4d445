"""The embedded server as one supervisor uses it: started, brought back after a crash, stopped."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tasker_actors.errors import TaskerError
from tasker_actors.postgres.embedded import EmbeddedServer
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.supervisor")


class EmbeddedDatabase:
    """One supervisor's use of the server; `revive` and `stop` may be called by different threads."""

    def __init__(self, home: Path, *, start_timeout_ms: int, revive_timeout_ms: int) -> None:
        """Start the server; blocks, and raises what `EmbeddedServer.start` raises."""
        self._server = EmbeddedServer.start(home, start_timeout_ms)
        self._revive_timeout_ms = revive_timeout_ms
        self._lock = threading.Lock()
        self._stopped = False
        self._told: str | None = None
        logger.info("Embedded PostgreSQL is running", home=str(home))

    @property
    def url(self) -> str:
        """The URL of the database."""
        return self._server.url

    def revive(self) -> None:
        """Start the server again if nobody can reach it; it recovers what was committed. Tells each reason once."""
        with self._lock:
            if self._stopped:
                return
            had_died = not self._server.is_running()
            try:
                self._server.ensure_running(self._revive_timeout_ms)
            except TaskerError as error:
                if str(error) != self._told:
                    self._told = str(error)
                    logger.error("The embedded PostgreSQL could not be started again", error=str(error))
            else:
                self._told = None
                if had_died:
                    logger.warning("The embedded PostgreSQL had died and was started again")

    def stop(self, within_s: float) -> None:
        """End this use; the server stops with its last user. A start that is under way is waited for, so long."""
        deadline = time.monotonic() + within_s
        self._stopped = True
        if not self._lock.acquire(timeout=within_s):
            logger.warning("Embedded PostgreSQL left running: it is being started again just now")
            return
        try:
            self._server.stop(deadline)
        finally:
            self._lock.release()
