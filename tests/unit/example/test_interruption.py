"""Signals to the example."""

from __future__ import annotations

import os
import signal

import pytest

from tasker_actors.example.interruption import Interrupted, interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_interrupts_and_the_next_ones_hasten_the_end(number: signal.Signals) -> None:
    hastened = []
    before = signal.getsignal(number)
    with interruptible() as interruption:
        with pytest.raises(Interrupted) as interrupted:
            os.kill(os.getpid(), number)
        assert interrupted.value.number is number
        os.kill(os.getpid(), number)
        interruption.leave(lambda: hastened.append(number))
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)

    assert hastened == [number, number]
    assert signal.getsignal(number) is before


def test_a_signal_while_something_is_being_stopped_does_not_break_that_off() -> None:
    hastened = []
    with interruptible() as interruption:
        interruption.leave(lambda: hastened.append(1))
        os.kill(os.getpid(), signal.SIGINT)

    assert hastened == [1]
