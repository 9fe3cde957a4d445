"""Shared libraries for tests, built by the system's C compiler."""

from __future__ import annotations

import json
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


def native(libraries: Path, *subscribers: tuple[str, str, str], **variables: str) -> dict[str, str]:
    """The variables that name the libraries; a subscriber is library, symbol and pattern."""
    tables = [{"library": path, "symbol": symbol, "patterns": [pattern]} for path, symbol, pattern in subscribers]
    return {
        "TASKER_NATIVE__DIRECTORY": str(libraries),
        "TASKER_NATIVE__SUBSCRIBERS": json.dumps(tables),
        **variables,
    }


def handler(symbol: str, library: str = "answers.so") -> str:
    """The `callable` of a native handler."""
    return f"native:{library}#{symbol}"
