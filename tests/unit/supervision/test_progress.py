"""When a worker counts as hung (DESIGN 3 rule 9, G3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.actors.system import ActorStatus
from tasker_actors.supervision.progress import ProgressWatch, Standstill, Station, is_hung
from tasker_actors.supervision.stations import actor_station


def busy(mark: int = 0, name: str = "router", **keys: bool) -> Station:
    return Station(name, mark, has_work=True, **keys)


IDLE = Station("router", 0, has_work=False)


def looks(*stations: Station, gap: float = 0.5) -> list[float]:
    """What each look at one station gives, one every `gap` seconds."""
    watch = ProgressWatch()
    found = [watch.look(number * gap, [station]) for number, station in enumerate(stations)]
    return [0.0 if one is None else one.seconds for one in found]


def test_work_that_does_not_end_adds_up():
    assert looks(busy(), busy(), busy()) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "progress", [busy(mark=1), IDLE, busy(is_excused=True)], ids=["work ended", "nothing to do", "excused"]
)
def test_what_is_no_standstill_begins_it_anew(progress: Station):
    assert looks(busy(), busy(), progress, busy(), busy()) == [0.0, 0.5, 0.0, 0.0, 0.5]


def idle_with_a_message(handled: int) -> Station:
    """An actor between the moment at which it was told something and the one at which its thread has it."""
    return actor_station(
        ActorStatus(
            name="step_source",
            is_running=True,
            mailbox_depth=1,
            restarts=0,
            last_reason=None,
            busy_seconds=None,
            busy_since=None,
            handled=handled,
        )
    )


def test_an_actor_that_has_a_message_at_each_look_stands_still_only_if_it_handles_none_in_between():
    assert looks(*map(idle_with_a_message, (0, 1, 2, 4))) == [0.0, 0.0, 0.0, 0.0]
    assert looks(*map(idle_with_a_message, (3, 3, 3))) == [0.0, 0.5, 1.0]


def test_the_station_that_stands_longest_is_named():
    watch = ProgressWatch()
    watch.look(0.0, [busy(name="source"), busy(name="bus", is_excused=True)])
    watch.look(0.5, [busy(name="source"), busy(name="bus")])

    assert watch.look(1.0, [busy(name="bus"), busy(name="source")]) == Standstill("source", 1.0)


def test_time_in_which_nobody_looked_does_not_count():
    """A process that was stopped for an hour has had no hour to make progress in."""
    watch = ProgressWatch(longest_gap_s=1.0)
    watch.look(0.0, [busy()])

    assert watch.look(3600.0, [busy()]) == Standstill("router", 1.0)


STATIONS = st.builds(Station, st.just("router"), st.integers(0, 2), has_work=st.booleans(), is_excused=st.booleans())


@given(st.lists(st.tuples(st.floats(0, 5), STATIONS), max_size=40))
def test_a_standstill_is_the_watched_time_since_the_last_progress(entries: list[tuple[float, Station]]):
    """Against the rule said the other way round: look back to the last progress and add up what was watched since."""
    watch = ProgressWatch(longest_gap_s=1.0)
    now = 0.0
    expected, before = 0.0, None
    for gap, station in entries:
        now += gap
        stands = station.has_work and not station.is_excused
        stood = before is not None and before.has_work and not before.is_excused and before.mark == station.mark
        expected = expected + min(gap, 1.0) if stands and stood else 0.0
        before = station

        found = watch.look(now, [station])
        assert (0.0 if found is None else found.seconds) == pytest.approx(expected, abs=1e-6)


@given(st.floats(0, 100), st.floats(0.01, 100), st.booleans(), st.floats(-100, 100))
def test_a_silent_worker_is_never_hung_before_its_limit_and_always_once_nothing_excuses_it(
    silent: float, hang: float, is_stopped: bool, handlers_end_in: float
):
    hung = is_hung(silent, hang_s=hang, lease_s=30.0, is_stopped=is_stopped, handlers_end_in_s=handlers_end_in)

    if silent <= hang:
        assert not hung
    elif is_stopped or handlers_end_in <= 0 or silent > 20.0:
        assert hung
    else:
        assert not hung


@pytest.mark.parametrize(
    ("silent", "is_stopped", "handlers_end_in", "hung"),
    [
        (9.9, True, -1.0, False),
        (10.1, False, -0.1, True),
        (10.1, False, 5.0, False),
        (10.1, True, 5.0, True),
        (20.1, False, 5.0, True),
    ],
    ids=["within the limit", "past all limits", "a handler within its own", "stopped", "leases end"],
)
def test_a_silent_worker(silent: float, is_stopped: bool, handlers_end_in: float, hung: bool):
    found = is_hung(silent, hang_s=10.0, lease_s=30.0, is_stopped=is_stopped, handlers_end_in_s=handlers_end_in)
    assert found is hung
