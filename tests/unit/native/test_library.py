"""A shared library that was really built and loaded: its version, its start, its functions, its memory."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
from support.native_code import EXAMPLES, SOURCES, build

from tasker_actors.errors import NativeLibraryError
from tasker_actors.native.library import ABI_VERSION, MAX_ANSWER_BYTES, NativeLibrary
from tasker_actors.settings import Settings
from tasker_actors.steps.native_result import TASKER_FAILED, TASKER_OK


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> NativeLibrary:
    return NativeLibrary(build(SOURCES / "answers.c", tmp_path_factory.mktemp("native")), b'{"worker_slot": 3}')


def held(library: NativeLibrary) -> int:
    answer = library.handler("tell_held")(b"{}")
    assert answer.data is not None
    return int(orjson.loads(answer.data)["held"])


def test_the_library_gets_its_configuration(answers: NativeLibrary) -> None:
    assert answers.handler("tell_configuration")(b"{}").data == b'{"worker_slot": 3}'


def test_a_handler_gets_exactly_the_bytes_that_are_given_also_with_a_nul(answers: NativeLibrary) -> None:
    answer = answers.handler("echo")(b'{"a":"\0\xc3\xa9"}')
    assert (answer.code, answer.data) == (0, b'{"a":"\0\xc3\xa9"}')


def test_every_answer_is_given_back_to_the_library_once(answers: NativeLibrary) -> None:
    for symbol in ("echo", "fails", "other_code", "too_long", "empty", "nothing"):
        answers.handler(symbol)(b"{}")
    assert held(answers) == 0


def test_an_answer_that_is_too_long_is_not_copied(answers: NativeLibrary) -> None:
    answer = answers.handler("too_long")(b"{}")
    assert (answer.data, answer.length) == (None, MAX_ANSWER_BYTES + 1)


def test_several_threads_call_at_once(answers: NativeLibrary) -> None:
    echo = answers.handler("echo")
    with ThreadPoolExecutor(8) as pool:
        texts = [b"%d" % number * 1000 for number in range(500)]
        assert [answer.data for answer in pool.map(echo, texts)] == texts
    assert held(answers) == 0


def test_an_event_handler_says_whether_all_went_well(answers: NativeLibrary) -> None:
    assert answers.subscriber("refuse_event")(b"{}") == 7


@pytest.mark.parametrize(
    ("symbol", "said"),
    [("not_there", "has no function not_there$"), ("system", "has no function system of its own")],
)
def test_only_functions_of_the_library_itself_are_found(answers: NativeLibrary, symbol: str, said: str) -> None:
    """The loader would look into the C library too, and call `system` with a context."""
    with pytest.raises(NativeLibraryError, match=re.escape(str(answers.file)) + ".*" + said):
        answers.handler(symbol)
    with pytest.raises(NativeLibraryError, match=said):
        answers.subscriber(symbol)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("-DANSWERS_ABI_VERSION=2", "version 2 of the interface, this runtime version 1: build it against"),
        ("-DANSWERS_INIT=5", "tasker_init returned 5"),
        ("-DANSWERS_WITHOUT_FREE", "has no function tasker_free"),
        ("-Wl,--unresolved-symbols=ignore-all -DANSWERS_NEEDS", "cannot be loaded: .*missing_elsewhere"),
    ],
)
def test_a_library_that_cannot_be_used_is_refused(tmp_path: Path, option: str, said: str) -> None:
    file = build(SOURCES / "answers.c", tmp_path, *option.split())
    with pytest.raises(NativeLibraryError, match=said):
        NativeLibrary(file, b"{}")


def test_a_file_that_the_loader_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_bytes(b"\x7fELF and nothing more")
    with pytest.raises(NativeLibraryError, match=r"broken\.so cannot be loaded"):
        NativeLibrary(tmp_path / "broken.so", b"{}")


def test_the_header_says_what_the_runtime_does() -> None:
    header = (EXAMPLES / "tasker_native.h").read_text(encoding="utf-8")
    constants = dict(re.findall(r"^#define (TASKER_\w+) (.+)$", header, re.MULTILINE))
    assert constants == {
        "TASKER_ABI_VERSION": str(ABI_VERSION),
        "TASKER_OK": str(TASKER_OK),
        "TASKER_FAILED": str(TASKER_FAILED),
        "TASKER_MAX_RESULT_BYTES": "(64u * 1024u * 1024u)",
    }
    assert 64 * 1024 * 1024 == MAX_ANSWER_BYTES == Settings().worker.max_result_bytes
