"""How the connections of a pool are used."""

from __future__ import annotations

import time

from psycopg_pool import ConnectionPool

from tasker_actors.postgres.bounded import PooledConnection


class MeasuredPool(ConnectionPool[PooledConnection]):
    """A pool that remembers the longest wait for one of its connections, which the library does not."""

    longest_wait_ms = 0.0

    def getconn(self, timeout: float | None = None) -> PooledConnection:
        """Lend a connection as the library does."""
        began = time.monotonic()
        try:
            return super().getconn(timeout)
        finally:
            self.longest_wait_ms = max(self.longest_wait_ms, (time.monotonic() - began) * 1000)


def pool_figures(pool: ConnectionPool[PooledConnection]) -> dict[str, int | float]:
    """Return how a pool is used, in the original's words; does not block.

    An acquire is slow if it had to wait: for a connection that others have, or for a new one to be made.
    """
    stats = pool.get_stats()
    idle, acquires = stats["pool_available"], stats.get("requests_num", 0)
    active = max(0, stats["pool_size"] - idle)
    return {
        "active_connections": active,
        "idle_connections": idle,
        "max_connections": pool.max_size,
        "utilization_percent": round(100 * active / pool.max_size, 2),
        "total_acquires": acquires,
        "slow_acquires": stats.get("requests_queued", 0),
        "acquire_errors": stats.get("requests_errors", 0),
        "average_acquire_time_ms": round(stats.get("requests_wait_ms", 0) / acquires, 3) if acquires else 0.0,
        "max_acquire_time_ms": round(pool.longest_wait_ms, 3) if isinstance(pool, MeasuredPool) else 0.0,
    }
