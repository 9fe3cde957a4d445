"""`native:PATH#symbol` is read as it is written, and refused with a reason where it cannot be meant."""

from __future__ import annotations

import pytest

from tasker_actors.errors import NativeLibraryError
from tasker_actors.native.reference import NativeReference


@pytest.mark.parametrize(
    ("text", "path", "symbol"),
    [
        ("native:great_circle.so#great_circle", "great_circle.so", "great_circle"),
        ("native:./lib/x.so.1#run_2", "./lib/x.so.1", "run_2"),
        ("native:/opt/lib/x#1.so#_run", "/opt/lib/x#1.so", "_run"),
    ],
)
def test_a_reference_has_a_path_and_a_symbol(text: str, path: str, symbol: str) -> None:
    assert NativeReference.parse(text) == NativeReference(path, symbol)
    assert str(NativeReference(path, symbol)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lib.so#run", "must be native:PATH#symbol"),
        ("native:lib.so", "must be native:PATH#symbol"),
        ("native:#run", "no path of a shared library"),
        ("native: lib.so#run", "no path of a shared library"),
        ("native:a\0b#run", "no path of a shared library"),
        ("native:lib.so#", "no name of a C function"),
        ("native:lib.so#2run", "no name of a C function"),
        ("native:lib.so#ru n", "no name of a C function"),
        ("native:lib.so#run\n", "no name of a C function"),
        ("native:lib.so#tasker_init", "belong to the interface"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(NativeLibraryError, match=said):
        NativeReference.parse(text)
