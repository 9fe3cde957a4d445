"""Finds the file of a shared library and looks at its first bytes; loads nothing, so the supervisor may use it."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from tasker_actors.errors import NativeLibraryError

_HEADER_BYTES = 20
_ELF = b"\x7fELF"
_KIND = slice(4, 6)
"""Where an ELF header has its word size and its byte order."""
_TYPE = slice(16, 18)
_MACHINE = slice(18, 20)
_SHARED_OBJECT = 3


def locate(directory: Path, path: str) -> Path:
    """Return the real path of a library, which must be a shared object for this machine below `directory`.

    Relative paths start there. Symbolic links are followed before the comparison, so that neither `..` nor a link
    leads out of it. Raises NativeLibraryError naming the library and what to do.
    """
    root = directory.resolve()
    try:
        file = (root / path).resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, up to Python 3.12
        msg = f"native library {path!r} cannot be found in {root} (setting native.directory): {_reason(error)}"
        raise NativeLibraryError(msg) from error
    if not file.is_relative_to(root):
        msg = f"native library {path!r} is {file}, outside of {root}: move it there, or change native.directory"
        raise NativeLibraryError(msg)
    _check_shared_object(file)
    return file


def _check_shared_object(file: Path) -> None:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # before it is opened: a named pipe would make us wait
            msg = f"native library {file} is no regular file"
            raise NativeLibraryError(msg)
        header = _header(file)
    except OSError as error:
        msg = f"native library {file} cannot be read: {_reason(error)}"
        raise NativeLibraryError(msg) from error
    own = _header(Path(sys.executable).resolve())
    if not own.startswith(_ELF):
        return  # another system's format: its loader, in the worker, is the judge
    if not header.startswith(_ELF) or int.from_bytes(header[_TYPE], sys.byteorder) != _SHARED_OBJECT:
        msg = f"native library {file} is no shared object; build it with -shared -fPIC, or as a cdylib"
        raise NativeLibraryError(msg)
    if (header[_KIND], header[_MACHINE]) != (own[_KIND], own[_MACHINE]):
        msg = f"native library {file} was built for another machine than this Python"
        raise NativeLibraryError(msg)


def _header(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_HEADER_BYTES)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
