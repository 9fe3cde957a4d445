"""The ScheduleActor: when it looks, what it tells, and that nothing of it is lost when the database is away."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.flow import Flow
from support.leases import Inbox
from support.scheduled import AT_ONCE, FAR, new_year, put, refusing, schedule, tasks
from support.waiting import until

from tasker_actors.actors import ActorSystem
from tasker_actors.messages import Count
from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.connect import connect, open_pool
from tasker_actors.postgres.session import Pool
from tasker_actors.settings.schedules import ScheduleSettings
from tasker_actors.supervision import schedules
from tasker_actors.supervision.schedule_start import schedule_alarm, start_schedules
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow import cron
from tasker_actors.workflow.schedule import CatchUp


class Firing:
    """A ScheduleActor with its alarm, and what it has told."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.counts: list[tuple[Any, ...]] = []
        self.released = 0
        self.availability = Availability(get_logger("tests"))
        self.system = ActorSystem("supervisor")
        self.alarm = schedule_alarm(self.system)

    def counted(self) -> list[tuple[Any, ...]]:
        while not self.heard.empty():
            count = self.heard.get()
            assert isinstance(count, Count)
            self.counts.append((count.metric, count.labels, count.amount))
        return self.counts

    def release(self) -> None:
        self.released += 1

    def looks(self) -> int:
        """How often the actor has looked what is due."""
        return next(actor.handled for actor in self.system.actors() if actor.name == "schedules")


Start = Callable[..., Firing]


def has_looked(flow: Flow) -> bool:
    """Whether somebody has asked when the next firing is."""
    query = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%%min(next_fire_at)%%'"
    return len(flow.rows(query + " AND pid <> pg_backend_pid()")) > 0


@pytest.fixture
def start(flow: Flow) -> Iterator[Start]:
    made: list[Firing] = []

    def start(pool: Pool = flow.pool, **keys: int) -> Firing:
        firing = Firing()
        made.append(firing)
        start_schedules(
            firing.system,
            ScheduleSettings(**keys),
            pool=pool,
            new_trace=new_trace,
            stats=firing.system.start("stats", lambda: Inbox(firing.heard)),
            availability=firing.availability,
            alarm=firing.alarm,
            released=(firing.release,),
        )
        firing.alarm.start()
        return firing

    yield start
    for firing in made:
        firing.alarm.stop()
        assert firing.system.stop_all([], time.monotonic() + 10) == ()


def test_what_was_missed_is_made_up_for_at_the_start_counted_and_announced(flow: Flow, start: Start) -> None:
    flow.register({"only": []})
    put(flow, due=new_year(flow, 2), catch_up=CatchUp.ALL)

    firing = start()

    until(lambda: len(firing.counted()) == 2)
    assert set(firing.counts) == {
        (metrics.TASK_REQUESTS, ("shop", "work"), 3),
        (metrics.SCHEDULE_FIRINGS, ("shop", "success"), 3),
    }
    assert firing.released == 1
    assert len(tasks(flow)) == 3


def test_a_failure_is_counted_and_releases_nothing(flow: Flow, start: Start) -> None:
    put(flow, due=new_year(flow), template="gone")

    firing = start()

    until(lambda: firing.counted() == [(metrics.SCHEDULE_FIRINGS, ("shop", "failure"), 1)])
    assert firing.released == 0


def test_one_that_is_dropped_and_one_that_is_left_do_not_end_it(flow: Flow, start: Start) -> None:
    flow.register({"only": []})
    put(flow, "dropped", due=new_year(flow, 5), catch_up=CatchUp.SKIP)
    put(flow, "left", due=new_year(flow, 4), cron="@sometimes")
    put(flow, "good", due=new_year(flow, 3))

    start()

    until(lambda: len(tasks(flow, "good")) == 1)


def test_one_that_a_trigger_of_the_operators_refuses_does_not_end_it(flow: Flow, start: Start) -> None:
    flow.register({"only": []})
    put(flow, "bad", due=new_year(flow, 1), priority=7)
    put(flow, "good", due=new_year(flow, 0))
    with refusing(flow, AT_ONCE):
        firing = start()

        until(lambda: len(tasks(flow, "good")) == 1)

    assert (metrics.SCHEDULE_FIRINGS, ("shop", "failure"), 1) in firing.counted()
    assert tasks(flow, "bad") == []


def test_what_cannot_be_fired_here_is_told_and_not_asked_for_again_and_again(flow: Flow, start: Start) -> None:
    flow.register({"only": []})
    put(flow, "left", due=new_year(flow), timezone="Mars/Olympus")
    put(flow, "good", due=FAR, cron="* * * * * *", catch_up=CatchUp.ALL)
    failure = (metrics.SCHEDULE_FIRINGS, ("shop", "failure"), 1)
    with capture_logs() as lines:
        firing = start(poll_interval_ms=86_400_000)
        until(lambda: firing.counted() == [failure])
        flow.rows("UPDATE tasker.schedules SET next_fire_at = now() WHERE name = 'good' RETURNING 1")
        firing.alarm.set_off()
        until(lambda: len(tasks(flow, "good")) >= 3)

    (told,) = [line for line in lines if line.get("schedule") == "left"]
    assert (told["log_level"], told["event"]) == ("warning", "A schedule cannot be fired here and is left to others")
    assert "there is no time zone 'Mars/Olympus'" in told["error"]
    assert "update this supervisor" in told["advice"]
    assert firing.counted().count(failure) == 1
    assert schedule(flow, "left")["enabled"]


def test_what_could_not_be_fired_here_is_looked_at_again_after_a_while(
    flow: Flow, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a supervisor that is the only one, and of which nothing is asked meanwhile."""
    flow.register({"only": []})
    put(flow, due=new_year(flow), timezone="Europe/Berlin")
    zones: set[str] = set()
    monkeypatch.setattr(cron, "_zone_names", lambda: frozenset(zones))
    monkeypatch.setattr(schedules, "_LEFT_S", 0.05)
    firing = start(poll_interval_ms=86_400_000)
    until(lambda: len(firing.counted()) >= 2)

    zones.add("Europe/Berlin")

    until(lambda: len(tasks(flow)) == 1)
    assert schedule(flow)["last_error"] is None


def test_it_looks_when_told_and_at_the_moment_of_the_next_firing(flow: Flow, start: Start) -> None:
    """Its poll would come in a day."""
    flow.register({"only": []})
    put(flow, "every-second", due=FAR, cron="* * * * * *", catch_up=CatchUp.ALL)
    firing = start(poll_interval_ms=86_400_000)
    flow.rows("UPDATE tasker.schedules SET next_fire_at = date_trunc('second', now()) + interval '1 s' RETURNING 1")

    firing.alarm.set_off()

    until(lambda: len(tasks(flow, "every-second")) >= 3)


def test_without_being_told_it_looks_once_a_poll(flow: Flow, start: Start) -> None:
    flow.register({"only": []})
    firing = start(poll_interval_ms=10)
    until(lambda: firing.availability.reason is None)

    put(flow, due=new_year(flow))

    until(lambda: len(tasks(flow)) == 1)


def test_what_somebody_holds_who_dies_of_it_is_fired_soon(flow: Flow, start: Start) -> None:
    flow.register({"only": []})
    put(flow, due=new_year(flow))
    with flow.in_flight("SELECT FROM tasker.schedules FOR UPDATE") as connection:
        firing = start(poll_interval_ms=86_400_000)
        until(lambda: has_looked(flow))
        assert tasks(flow) == []
        connection.rollback()

    until(lambda: firing.released == 1)
    assert len(tasks(flow)) == 1


def test_more_than_one_round_has_are_fired_in_several(flow: Flow, start: Start) -> None:
    flow.register({"only": []})
    for number in range(101):
        put(flow, f"schedule-{number}", due=new_year(flow))

    firing = start(poll_interval_ms=86_400_000)

    until(lambda: firing.released == 101, 60)


def test_while_the_database_refuses_it_waits_and_then_goes_on(flow: Flow, start: Start) -> None:
    flow.register({"only": []})
    put(flow, due=new_year(flow))
    with flow.in_flight("LOCK TABLE tasker.schedules IN ACCESS EXCLUSIVE MODE"):
        firing = start(poll_interval_ms=86_400_000)

        def cut_again() -> bool:
            flow.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return firing.availability.reason is not None

        until(cut_again)

    until(lambda: len(tasks(flow)) == 1)
    until(lambda: firing.availability.reason is None)


def test_one_that_is_cut_off_each_time_does_not_keep_the_others_from_firing(flow: Flow, start: Start) -> None:
    """As one whose task takes longer than a statement may: it is due first, and no error of its own is known."""
    flow.register({"only": []})
    put(flow, "slow", due=new_year(flow, 3), priority=7)
    put(flow, "after it", due=new_year(flow))

    with refusing(flow, AT_ONCE, "57014"), capture_logs() as lines:
        start()
        until(lambda: len(tasks(flow, "after it")) == 1)

    assert tasks(flow, "slow") == []
    assert schedule(flow, "slow")["next_fire_at"] == new_year(flow, 3)
    (told,) = (line for line in lines if "cut off twice" in line["event"])
    assert told["schedule"] == "slow"


def test_one_that_fired_in_between_is_not_cut_off_twice(
    flow: Flow, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "_PAUSE_S", 3600.0)  # only the test's own alarms count
    flow.register({"only": []})
    put(flow, due=new_year(flow), priority=7, catch_up=CatchUp.ALL)
    with capture_logs() as lines:
        with refusing(flow, AT_ONCE, "57014"):
            firing = start()
            until(lambda: firing.looks() == 1)
        firing.alarm.set_off()
        until(lambda: len(tasks(flow)) == 1)
        with refusing(flow, AT_ONCE, "57014"):
            flow.rows("UPDATE tasker.schedules SET next_fire_at = %s RETURNING name", new_year(flow, 1))
            before = firing.looks()
            firing.alarm.set_off()
            until(lambda: firing.looks() > before)
            assert len(tasks(flow)) == 1
        firing.alarm.set_off()
        until(lambda: len(tasks(flow)) == 2)

    assert not [line for line in lines if "cut off twice" in line["event"]]


def test_a_right_that_is_missing_is_waited_for(flow: Flow, start: Start) -> None:
    flow.register({"only": []})
    put(flow, due=new_year(flow))
    with connect(flow.url, application_name="tests") as owner, capture_logs() as lines:
        owner.execute("CREATE ROLE fires_nothing")
        try:
            with open_pool(flow.url, application_name="tests", max_size=1) as pool:
                with pool.connection() as only:
                    only.execute("SET ROLE fires_nothing")
                firing = start(pool, poll_interval_ms=86_400_000)
                until(lambda: any(line["event"] == "Schedules cannot be fired" for line in lines))
                with pool.connection() as only:
                    only.execute("RESET ROLE")
                until(lambda: firing.released == 1)
                firing.alarm.stop()
                assert firing.system.stop_all([], time.monotonic() + 10) == ()
        finally:
            owner.execute("DROP ROLE fires_nothing")
