"""What the operating system does at a signal, read and put back around native code (SPEC 4.1)."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping

from tasker_actors.errors import NativeLibraryError

OWNED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE)
"""The signals that a worker relies on: it ignores the first two, subprocesses need the third, sockets the last."""

_ACTION_BYTES = 512
"""More than the largest `struct sigaction`, whose fields need not be known to put it back as it was."""


_HANDLER = slice(ctypes.sizeof(ctypes.c_void_p))
"""Where the structure has its handler. The rest cannot be compared: glibc fills it up with what its stack held."""


def read_dispositions() -> Mapping[signal.Signals, bytes]:
    """Return the kernel's `sigaction` of each owned signal; `signal.getsignal` would only tell what Python did."""
    return {number: _read(number) for number in OWNED}


def put_back(before: Mapping[signal.Signals, bytes]) -> list[str]:
    """Give signals whose handler was changed since `before` was read the old one; names them."""
    changed = [number for number, action in before.items() if _read(number)[_HANDLER] != action[_HANDLER]]
    for number in changed:
        _call(number, before[number], None)
    return [number.name for number in changed]


def _read(number: signal.Signals) -> bytes:
    buffer = ctypes.create_string_buffer(_ACTION_BYTES)
    _call(number, None, buffer)
    return buffer.raw


def _call(number: signal.Signals, new: bytes | None, old: ctypes.Array[ctypes.c_char] | None) -> None:
    if ctypes.CDLL(None, use_errno=True).sigaction(ctypes.c_int(number), new, old) != 0:
        code = ctypes.get_errno()
        message = f"sigaction of {number.name} fails: {os.strerror(code)}; native code needs a system that allows it"
        raise NativeLibraryError(message)
