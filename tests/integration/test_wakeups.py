"""What one supervisor tells the others through the database (DESIGN 3 rule 11)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from support.flow import Flow
from support.waiting import until

from tasker_actors.postgres.notifications import Listener
from tasker_actors.settings import Settings
from tasker_actors.supervision.wakeups import Wakeups


class Ears:
    """A supervisor's wake-ups, and what they heard."""

    def __init__(self, flow: Flow, name: str) -> None:
        self.leases: dict[int, list[int]] = defaultdict(list)
        self.woken = 0
        self.wakeups = Wakeups(
            Listener(flow.url, Settings().database),
            flow.pool,
            supervisor_id=name,
            on_work=self._on_work,
            on_cancel=self._on_cancel,
            interval_ms=1,
        )

    def _on_work(self) -> None:
        self.woken += 1

    def _on_cancel(self, leases: Mapping[int, Sequence[int]]) -> None:
        for worker, tokens in leases.items():
            self.leases[worker].extend(tokens)


def listeners(flow: Flow) -> int:
    """How many sessions of this database listen."""
    query = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
    return int(flow.rows(query)[0]["n"])


def test_cancelled_leases_reach_the_other_supervisors_however_many_they_are(flow: Flow):
    """PostgreSQL takes 8,000 bytes in one notification: a thousand leases do not fit into it."""
    ours, other = Ears(flow, "ours"), Ears(flow, "other")
    leases = {1: list(range(1, 400)), 2**62: [2**63 - 1 - number for number in range(1000)]}
    try:
        for one in (ours, other):
            one.wakeups.start()
        until(lambda: listeners(flow) == 2)

        ours.wakeups.leases_cancelled(leases)

        until(lambda: sum(map(len, other.leases.values())) == 1399)
        assert other.leases == leases
        assert ours.leases == {}
    finally:
        for one in (ours, other):
            one.wakeups.stop()
