"""Shared libraries for tests, built by the system's C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "config" / "native"
SOURCES = Path(__file__).parent / "native"

WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")


def compiler() -> str:
    """The path of `cc`; the test is skipped where there is none."""
    found = shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler: install gcc and libc6-dev")
    return found


def build(source: Path, directory: Path, *options: str, name: str | None = None) -> Path:
    """Build a library of one source file as a user would; returns its file, which is named after the source."""
    library = directory / f"{name or source.stem}.so"
    command = [compiler(), *WARNINGS, "-O2", "-shared", "-fPIC", f"-I{EXAMPLES}", *options]
    subprocess.run([*command, "-o", str(library), str(source), "-lm", "-lpthread"], check=True, timeout=60)
    return library
