"""One shared library in this process: loaded, its version checked, initialized, its functions found.

Every pointer that goes in or comes out is handled here; who owns what memory is said in `tasker_native.h`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasker_actors.errors import NativeLibraryError

ABI_VERSION = 1
"""`TASKER_ABI_VERSION` of the header that this runtime speaks."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A larger answer is not copied: no result of that size could be stored."""


class _Result(ctypes.Structure):
    """`tasker_result`. `data` is no `c_char_p`, which ctypes would read up to the first NUL."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _SymbolInfo(ctypes.Structure):
    """`Dl_info` of dladdr(3)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a step handler returned: its code, and a copy of its data; None where it gave none or too much.

    `length` is what it said, also where the data was not copied.
    """

    code: int
    data: bytes | None
    length: int


class NativeLibrary:
    """A library whose `tasker_init` has run. Its functions may be called from any thread; the GIL is free meanwhile."""

    def __init__(self, file: Path, configuration: bytes) -> None:
        """Load the file and initialize it, in this thread; NativeLibraryError names the file and what is wrong.

        Runs the library's constructors and `tasker_init`, which may do anything a process can do.
        """
        self.file = file
        try:
            self._library = ctypes.CDLL(str(file), mode=os.RTLD_NOW | os.RTLD_LOCAL)
        except OSError as error:
            msg = f"native library {file} cannot be loaded: {error}"
            raise NativeLibraryError(msg) from error
        version = self._function("tasker_abi_version", ctypes.c_uint32)()
        if version != ABI_VERSION:
            msg = f"native library {file} has version {version} of the interface, this runtime version {ABI_VERSION}"
            raise NativeLibraryError(f"{msg}: build it against the tasker_native.h of this release")
        initialize = self._function("tasker_init", ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
        self._free = self._function("tasker_free", None, ctypes.c_void_p, ctypes.c_size_t)
        code = initialize(configuration, len(configuration))
        if code != 0:
            msg = f"native library {file}: tasker_init returned {code}, so it cannot be used"
            raise NativeLibraryError(msg)

    def handler(self, symbol: str) -> Callable[[bytes], Answer]:
        """Return a step handler: it takes the context as JSON. NativeLibraryError if the library has no such one."""
        function = self._function(
            symbol, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(_Result)
        )  # fmt: skip

        def call(context: bytes) -> Answer:
            result = _Result()
            try:
                code = function(context, len(context), ctypes.byref(result))
                return Answer(code, _copied(result), result.length)
            finally:
                # Also when the time limit's exception arrives as the function returns.
                if result.data is not None:
                    self._free(result.data, result.length)

        return call

    def subscriber(self, symbol: str) -> Callable[[bytes], int]:
        """Return an event handler: it takes an event as JSON and returns 0 if all went well."""
        function = self._function(symbol, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)

        def call(event: bytes) -> int:
            return int(function(event, len(event)))

        return call

    def _function(self, symbol: str, returned: Any, *arguments: Any) -> Any:
        try:
            function = self._library[symbol]
        except AttributeError as error:
            msg = f"native library {self.file} has no function {symbol}"
            raise NativeLibraryError(msg) from error
        defined_in = _defining_file(function)
        if defined_in is None or not defined_in.samefile(self.file):
            # The loader looks into the libraries that this one needs, too: `system` would be found, in libc.
            msg = f"native library {self.file} has no function {symbol} of its own (there is one in {defined_in})"
            raise NativeLibraryError(msg)
        function.restype = returned
        function.argtypes = arguments
        return function


def _copied(result: _Result) -> bytes | None:
    if result.data is None or result.length > MAX_ANSWER_BYTES:
        return None
    return ctypes.string_at(result.data, result.length)


def _defining_file(function: Any) -> Path | None:
    info = _SymbolInfo()
    address = ctypes.cast(function, ctypes.c_void_p)
    found = ctypes.CDLL(None).dladdr(address, ctypes.byref(info))
    return Path(os.fsdecode(info.file)) if found and info.file else None
