"""The libraries of a worker: each loaded once, every function found, and an error that says who needs what."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.native_code import EXAMPLES, SOURCES, build

from tasker_actors.errors import NativeLibraryError
from tasker_actors.native.bridge import NativeBridge, WantedHandler
from tasker_actors.native.reference import NativeReference
from tasker_actors.settings import NativeSettings

STEP = "template flights/departure@1.0.0, step measure"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("libraries")
    build(EXAMPLES / "count_events.c", found)
    build(SOURCES / "answers.c", found)
    (found / "same.so").symlink_to("count_events.so")
    return found


def load(directory: Path, wanted: list[tuple[str, str]], *subscribers: tuple[str, str]) -> NativeBridge:
    settings = NativeSettings.model_validate(
        {
            "directory": directory,
            "subscribers": [{"library": path, "symbol": symbol, "patterns": ["*"]} for path, symbol in subscribers],
        }
    )
    handlers = [WantedHandler(path, symbol, STEP) for path, symbol in wanted]
    return NativeBridge.load(settings, handlers, worker=2, environment="test")


def test_handlers_and_subscribers_of_one_library_share_its_state(directory: Path) -> None:
    bridge = load(directory, [("count_events.so", "events_counted")], ("same.so", "count_event"))

    (subscriber,) = bridge.subscribers
    assert (subscriber.name, subscriber.patterns) == ("same.so#count_event", ("*",))
    handler = bridge.handlers[NativeReference("count_events.so", "events_counted")]
    before = handler.call(b"{}").data
    assert subscriber.call(b"{}") == 0
    assert handler.call(b"{}").data != before


def test_the_library_is_told_where_it_runs(directory: Path) -> None:
    bridge = load(directory, [("answers.so", "tell_configuration")])

    answer = bridge.handlers[NativeReference("answers.so", "tell_configuration")].call(b"{}")
    assert answer.data == b'{"worker_slot":2,"environment":"test"}'


def test_an_error_says_who_needs_what_of_which_library(directory: Path) -> None:
    for wanted, subscribers, said in (
        ([("answers.so", "absent")], [], rf"^{STEP}: native library .*answers\.so has no function absent"),
        ([("gone.so", "run")], [], rf"^{STEP}: native library 'gone\.so' cannot be found"),
        ([], [("answers.so", "absent")], r"^native\.subscribers: native library .*answers\.so has no function absent"),
    ):
        with pytest.raises(NativeLibraryError, match=said):
            load(directory, wanted, *subscribers)


def test_without_native_code_nothing_is_loaded() -> None:
    bridge = load(Path("there is no such directory"), [])
    assert (bridge.handlers, bridge.subscribers) == ({}, ())
