"""What one supervisor tells the others through the database (DESIGN 3 rule 11)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from support.flow import Flow
from support.waiting import until

from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.notifications import Listener
from tasker_actors.postgres.outages import Backoff
from tasker_actors.settings import Settings
from tasker_actors.supervision.wakeups import WORK, Wakeups
from tasker_actors.telemetry.logging import get_logger


class Ears:
    """A supervisor's wake-ups, and what they heard."""

    def __init__(self, flow: Flow, name: str, interval_ms: int = 1) -> None:
        self.leases: dict[int, list[int]] = defaultdict(list)
        self.woken = 0
        self.schedules_changed = 0
        self.wakeups = Wakeups(
            Listener(flow.url, Settings().database),
            flow.pool,
            supervisor_id=name,
            on_work=self._on_work,
            on_cancel=self._on_cancel,
            on_schedules=self._on_schedules,
            interval_ms=interval_ms,
            backoff=Backoff(10, 100),
            availability=Availability(get_logger("tests")),
            revive=lambda: None,
        )

    def _on_work(self) -> None:
        self.woken += 1

    def _on_schedules(self) -> None:
        self.schedules_changed += 1

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


def test_what_is_released_between_two_notifications_is_told_in_one(flow: Flow):
    interval_ms = 300
    ours = Ears(flow, "ours", interval_ms)
    ours.wakeups.others_exist = True
    heard: list[str] = []
    with connect(flow.url, application_name="tests") as listening:
        listening.execute(f"LISTEN {WORK}")

        def release() -> bool:
            """A hundred commits released something; whether enough was heard of it."""
            for _ in range(100):
                ours.wakeups.work_released()
            heard.extend(one.payload for one in listening.notifies(timeout=0.01))
            return len(heard) >= 3

        began = time.monotonic()
        ours.wakeups.start()
        try:
            until(release)
        finally:
            ours.wakeups.stop()
        took_ms = (time.monotonic() - began) * 1000

    assert set(heard) == {"ours"}
    assert len(heard) <= took_ms / interval_ms + 1


def test_no_function_of_the_database_notifies_anybody(flow: Flow):
    """In the commit a notification would let every other commit of the server wait."""
    functions = flow.rows("SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'tasker'::regnamespace")
    assert functions
    assert [row["proname"] for row in functions if "notify" in row["prosrc"].lower()] == []
