"""A library is a shared object for this machine inside the one directory that was named; nothing else is loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tasker_actors.errors import NativeLibraryError
from tasker_actors.native.files import locate

HEADER = bytearray(Path(sys.executable).resolve().read_bytes()[:20])
SHARED = HEADER.copy()
SHARED[16:18] = (3).to_bytes(2, sys.byteorder)

pytestmark = pytest.mark.skipif(not HEADER.startswith(b"\x7fELF"), reason="the checks of the header are for ELF")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "libraries"
    found.mkdir()
    (found / "one.so").write_bytes(SHARED)
    (tmp_path / "outside.so").write_bytes(SHARED)
    return found


@pytest.mark.parametrize("path", ["one.so", "./one.so", "../libraries/one.so"])
def test_a_relative_path_starts_in_the_directory(directory: Path, path: str) -> None:
    assert locate(directory, path) == (directory / "one.so").resolve()


def test_a_relative_directory_starts_in_the_working_directory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory.parent)
    assert locate(Path("libraries"), "one.so") == (directory / "one.so").resolve()


def test_an_absolute_path_and_a_link_may_lead_into_the_directory(directory: Path) -> None:
    (directory / "current.so").symlink_to("one.so")
    assert locate(directory, str(directory / "one.so")) == (directory / "one.so").resolve()
    assert locate(directory, "current.so") == (directory / "one.so").resolve()


def test_nothing_leads_out_of_the_directory(directory: Path) -> None:
    (directory / "link.so").symlink_to(directory.parent / "outside.so")
    (directory / "up").symlink_to("..")
    for path in ("../outside.so", str(directory.parent / "outside.so"), "link.so", "up/outside.so"):
        with pytest.raises(NativeLibraryError, match=r"outside of .*libraries.*native\.directory"):
            locate(directory, path)


def test_what_is_no_library_is_refused_with_the_reason(directory: Path) -> None:
    executable, foreign = HEADER.copy(), SHARED.copy()
    executable[16:18] = (2).to_bytes(2, sys.byteorder)
    foreign[18:20] = (0xFFFE).to_bytes(2, sys.byteorder)
    for name, content in (("text.so", b"int main"), ("program", executable), ("foreign.so", foreign), ("empty", b"")):
        (directory / name).write_bytes(content)
    os.mkfifo(directory / "pipe.so")
    (directory / "circle.so").symlink_to("circle.so")
    for path, said in (
        ("missing.so", r"'missing\.so' cannot be found in .*native\.directory"),
        ("circle.so", "cannot be found"),
        (".", "no regular file"),
        ("pipe.so", "no regular file"),
        ("text.so", "no shared object; build it with"),
        ("empty", "no shared object"),
        ("program", "no shared object"),
        ("foreign.so", "another machine"),
    ):
        with pytest.raises(NativeLibraryError, match=said):
            locate(directory, path)


def test_a_library_that_cannot_be_read_is_told() -> None:
    """A process's own memory is a regular file that not even root can read from its beginning."""
    with pytest.raises(NativeLibraryError, match="cannot be read: Input/output error"):
        locate(Path("/proc/self"), "mem")
