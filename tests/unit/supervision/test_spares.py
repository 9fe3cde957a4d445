"""Interpreters that load before they are told which worker they are."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tasker_actors.supervision.boot import EXIT_ORPHANED
from tasker_actors.supervision.spares import Spare, Spares, start_process


@pytest.fixture
def spare() -> Iterator[Spare]:
    found = start_process()
    yield found
    found.process.kill()
    found.process.wait()
    found.link.close()


def processes() -> list[int]:
    """The children of this process that are to be workers; other tests leave servers running, and zombies."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if "tasker_actors.supervision.worker" in child.cmdline():
                found.append(child.pid)
    return found


def test_the_first_one_comes_first_and_then_new_ones() -> None:
    with Spares(1) as spares:
        started = processes()
        first, second = spares.take(), spares.take()
    try:
        assert started == [first.process.pid]
        assert first.process.poll() is None
        assert second.process.poll() is None
    finally:
        first.discard()
        second.discard()


def test_one_that_died_is_passed_over_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with Spares(2) as spares:
        dead, alive = processes()
        os.kill(dead, signal.SIGKILL)
        os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
        taken = spares.take()
    try:
        assert taken.process.pid == alive
        assert not psutil.pid_exists(dead)
        assert [record.exit_code for record in caplog.records] == [-signal.SIGKILL]  # type: ignore[attr-defined]  # extra
    finally:
        taken.discard()


def test_none_is_left_at_the_end() -> None:
    with Spares(2):
        pass

    assert processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_terminal_sends_to_the_group_does_not_end_it(spare: Spare, number: signal.Signals) -> None:
    spare.process.send_signal(number)
    os.close(spare.boot_pipe)  # as if the supervisor had died: only that ends it

    assert spare.process.wait(60) == EXIT_ORPHANED


def test_this_process_hears_its_signals_afterwards(spare: Spare) -> None:
    os.close(spare.boot_pipe)

    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, ())
