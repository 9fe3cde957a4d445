"""An alarm rings at its moment, once for all that it was set to, and never after it was stopped."""

import queue
import threading
import time

import pytest

from tasker_actors.supervision.alarm import Alarm

HOUR_S = 3600.0
SOON_S = 10.0


@pytest.fixture
def rung():
    return queue.SimpleQueue()


@pytest.fixture
def alarm(rung):
    made = Alarm(lambda: rung.put(time.monotonic()), "test-alarm")
    made.start()
    yield made
    made.stop()


def test_it_rings_at_the_earliest_of_its_moments_and_not_before(alarm, rung):
    began = time.monotonic()
    alarm.set(began + HOUR_S)
    alarm.set(began + 0.05)
    alarm.set(began + 2 * HOUR_S)

    assert rung.get(timeout=SOON_S) >= began + 0.05
    assert rung.empty()


def test_after_a_ring_it_is_silent_until_it_is_set_again(alarm, rung):
    alarm.set_off()
    rung.get(timeout=SOON_S)

    alarm.set(time.monotonic() + HOUR_S)
    alarm.set_off()

    rung.get(timeout=SOON_S)
    assert rung.empty()


def test_what_was_set_before_its_start_counts(rung):
    alarm = Alarm(lambda: rung.put(None), "test-alarm")
    alarm.set_off()
    assert rung.empty()

    alarm.start()

    rung.get(timeout=SOON_S)
    alarm.stop()


def test_being_set_while_it_rings_rings_again(rung):
    """Nobody's moment is lost to a ring that has begun."""
    rings, goes_on = threading.Event(), threading.Event()

    def ring():
        rings.set()
        goes_on.wait(SOON_S)
        rung.put(None)

    alarm = Alarm(ring, "test-alarm")
    alarm.start()
    alarm.set_off()
    assert rings.wait(SOON_S)
    alarm.set_off()
    goes_on.set()

    rung.get(timeout=SOON_S)
    rung.get(timeout=SOON_S)
    alarm.stop()


def test_a_stopped_one_never_rings(rung):
    alarm = Alarm(lambda: rung.put(None), "stopped-alarm")
    alarm.start()
    (thread,) = [one for one in threading.enumerate() if one.name == "stopped-alarm"]

    alarm.stop()
    alarm.set_off()

    thread.join(SOON_S)
    assert not thread.is_alive()
    assert rung.empty()
