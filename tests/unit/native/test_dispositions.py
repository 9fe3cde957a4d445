"""What native code does to the signals of this process is undone, in the kernel and not only in Python's books."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator

import pytest

from tasker_actors.errors import NativeLibraryError
from tasker_actors.native.dispositions import OWNED, put_back, read_dispositions

SIG_IGN = 1


@pytest.fixture
def kept() -> Iterator[None]:
    before = read_dispositions()
    yield
    put_back(before)


@pytest.mark.usefixtures("kept")
def test_changes_behind_pythons_back_are_found_and_undone() -> None:
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    before = read_dispositions()
    libc.signal(signal.SIGCHLD, SIG_IGN)
    libc.signal(signal.SIGTERM, SIG_IGN)
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL, "Python does not know of it"

    assert sorted(put_back(before)) == ["SIGCHLD", "SIGTERM"]

    assert put_back(before) == []
    assert libc.signal(signal.SIGCHLD, SIG_IGN) is None, "the handler was SIG_DFL, which is 0, again"


def test_the_signals_that_a_worker_relies_on_are_kept() -> None:
    assert set(OWNED) == {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE}


def test_a_system_that_allows_no_change_is_a_reason_not_to_start():
    before = {signal.SIGKILL: bytes([255]) * 512}
    with pytest.raises(NativeLibraryError, match="sigaction of SIGKILL fails: Invalid argument"):
        put_back(before)
