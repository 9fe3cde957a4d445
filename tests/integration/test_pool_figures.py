"""How the connections of a pool are used, and how long they were waited for."""

from __future__ import annotations

import threading

from support.waiting import until

from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.pool_figures import pool_figures


def test_what_is_lent_and_waited_for_is_counted(database_url: str) -> None:
    with open_pool(database_url, application_name="tests", max_size=1) as pool:
        before = pool_figures(pool)
        assert (before["max_connections"], before["total_acquires"], before["average_acquire_time_ms"]) == (1, 0, 0.0)
        with pool.connection():
            lent = pool_figures(pool)
            assert (lent["active_connections"], lent["idle_connections"], lent["utilization_percent"]) == (1, 0, 100.0)
            waiting = threading.Thread(target=lambda: pool.putconn(pool.getconn()))
            waiting.start()
            until(lambda: pool.get_stats().get("requests_waiting") == 1)
        waiting.join()
        after = pool_figures(pool)
        assert (after["total_acquires"], after["active_connections"], after["acquire_errors"]) == (2, 0, 0)
        assert after["slow_acquires"] >= 1
        assert after["max_acquire_time_ms"] >= after["average_acquire_time_ms"] > 0
