"""A request to stop, from anywhere."""

from __future__ import annotations

import os
import signal
import threading

from tasker_actors.consumer.stop import StopRequest


def test_a_wait_ends_with_the_request_and_later_waits_at_once():
    stop = StopRequest()
    threading.Timer(0.01, stop.make).start()
    assert stop.wait(60)
    assert stop.wait(60)
    assert stop.wait(60)
    assert stop.made


def test_a_wait_without_a_request_ends_by_itself():
    assert not StopRequest().wait(0.001)


def test_a_signal_handler_may_ask_while_its_own_thread_waits():
    stop = StopRequest()
    before = signal.signal(signal.SIGUSR2, lambda *_: stop.make())
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        assert stop.wait(60)
    finally:
        signal.signal(signal.SIGUSR2, before)
