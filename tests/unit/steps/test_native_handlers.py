"""A native handler is told the same as one in Python, and its answer is checked like any other result (SPEC 6)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from support.native_code import EXAMPLES, SOURCES, build

from tasker_actors.errors import HandlerNotFoundError, NativeLibraryError
from tasker_actors.native.bridge import NativeBridge, WantedHandler
from tasker_actors.settings import NativeSettings
from tasker_actors.steps.invoke import interpret
from tasker_actors.steps.native_handlers import HandlerFiles, LoadedHandlers
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.telemetry.span_ids import handler_call_id
from tasker_actors.telemetry.trace_context import correlated, new_trace
from tasker_actors.workflow.outcome import StepFailure, StepSuccess
from tasker_actors.workflow.template import HandlerSpec

ANSWERS = [
    *("echo", "null_value", "list", "fails", "fails_briefly", "fails_oddly", "fails_in_a_list", "no_json", "no_utf8"),
    *("nothing", "empty", "other_code", "huge_integer", "nul", "too_long"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("libraries")
    build(SOURCES / "answers.c", found)
    build(EXAMPLES / "great_circle.c", found)
    return found


@pytest.fixture(scope="module")
def registry(directory: Path) -> HandlerRegistry:
    wanted = [WantedHandler("answers.so", symbol, "a test") for symbol in ANSWERS]
    wanted.append(WantedHandler("great_circle.so", "great_circle", "a test"))
    bridge = NativeBridge.load(NativeSettings(directory=directory), wanted, worker=0, environment="test")
    return HandlerRegistry({}, {}, [], LoadedHandlers(bridge))


def spec(symbol: str, library: str = "answers.so", **keys: Any) -> HandlerSpec:
    return HandlerSpec(callable=f"native:{library}#{symbol}", **keys)


@pytest.fixture
def outcome(registry, make_context):
    def run(symbol, library="answers.so", **context):
        return interpret(registry.resolve(spec(symbol, library)).invoke(make_context(**context)))

    return run


def test_a_native_handler_is_bound_under_its_callable(registry: HandlerRegistry, directory: Path) -> None:
    bound = registry.resolve(spec("echo", method="call"))

    assert bound.name == "native:answers.so#echo"
    assert bound.place == f"{directory.resolve() / 'answers.so'}#echo"
    assert not bound.is_async


def test_the_handler_is_told_everything_that_a_python_one_sees(outcome) -> None:
    with correlated(trace := new_trace(), "0193a0e0-0000-7000-8000-000000000003"):
        success = outcome(
            "echo",
            input_data={"carrier": "Ærø", "n": 2**63},
            dependency_results={"fetch": [1, {"a": None}]},
            step_config={"limit": 3},
            retry_count=1,
        )

    assert isinstance(success, StepSuccess)
    told = dict(success.result)
    assert told.pop("deadline").endswith("Z")
    assert 0 < told.pop("remaining_ms") <= 30_000
    assert told == {
        "task_uuid": "0193a0e0-0000-7000-8000-000000000001",
        "step_uuid": "0193a0e0-0000-7000-8000-000000000002",
        "step_name": "assess_delay",
        "namespace": "flights",
        "correlation_id": "0193a0e0-0000-7000-8000-000000000003",
        "parent_correlation_id": None,
        "handler_name": "flights.assess_delay",
        "input_data": {"carrier": "Ærø", "n": 2**63},
        "dependency_results": {"fetch": [1, {"a": None}]},
        "step_config": {"limit": 3},
        "step_inputs": {},
        "retry_count": 1,
        "max_retries": 3,
        "traceparent": trace.with_span(handler_call_id(trace.span_id)).traceparent,
    }


def test_the_keys_that_the_handler_gets_are_those_of_the_header(outcome) -> None:
    header = " ".join((EXAMPLES / "tasker_native.h").read_text(encoding="utf-8").split())
    for key in outcome("echo").result:
        assert f" {key}" in header, key


def test_any_json_value_is_a_result(outcome) -> None:
    assert outcome("null_value") == StepSuccess({})
    assert outcome("list") == StepSuccess([1, 2])


def test_a_failure_is_what_the_handler_says(outcome) -> None:
    assert outcome("fails") == StepFailure(
        "no seat", "full", error_code="F1", retryable=False, retry_after_ms=1500, metadata={"row": 7}
    )
    assert outcome("fails_briefly") == StepFailure("later", "handler_error", retryable=True)


@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        ("fails_oddly", "no description of a failure: retriable: Extra inputs"),
        ("fails_in_a_list", "no description of a failure: the whole: Input should be"),
        ("no_json", "cannot be read as JSON in UTF-8"),
        ("no_utf8", "cannot be read as JSON in UTF-8"),
        ("empty", "cannot be read as JSON in UTF-8"),
        ("nothing", "left tasker_result.data NULL"),
        ("other_code", "returned 7; it must be 0"),
        ("too_long", "answered with 67108865 bytes, at most 67108864 are allowed"),
    ],
)
def test_an_answer_that_breaks_the_interface_fails_for_good(outcome, symbol: str, said: str) -> None:
    failure = outcome(symbol)

    assert isinstance(failure, StepFailure)
    assert (failure.error_type, failure.retryable) == ("invalid_result", False)
    assert failure.message.startswith("the native handler ")
    assert said in failure.message


def test_numbers_are_not_changed_on_the_way(outcome) -> None:
    """The value is refused where results are encoded, like that of any handler; a float of it would not be."""
    assert outcome("huge_integer") == StepSuccess({"n": 2**64})
    assert outcome("nul") == StepSuccess({"a": "\0"})


@pytest.mark.parametrize(
    ("places", "km"),
    [
        ((40.6398, -73.7789, 51.4706, -0.4619), 5539.7),
        ((0, 0, 0, 0), 0.0),
        ((0, 0, 0, 180), math.pi * 6371.0088),
        ((1e1, -0.0, 10, 0), 0.0),
    ],
)
def test_the_example_measures_the_distance(outcome, places: tuple[float, ...], km: float) -> None:
    names = ("from_latitude", "from_longitude", "to_latitude", "to_longitude")
    # Strings, arrays and objects before and between the numbers, with everything that could be taken for a key.
    noise = {'a "quoted\\" {key': ["from_latitude", {"from_latitude": 5}], "b": {"c": "}"}, "d": [], "e": {}, "f": None}
    success = outcome("great_circle", "great_circle.so", input_data=noise | dict(zip(names, places, strict=True)))

    assert success.result == {"distance_km": pytest.approx(km, abs=0.1)}


@pytest.mark.parametrize("context", [{}, {"from_latitude": "1"}, {"from_latitude": None}, {"x": {"from_latitude": 1}}])
def test_the_example_says_what_is_missing(outcome, context: dict[str, Any]) -> None:
    failure = outcome("great_circle", "great_circle.so", input_data=context)

    assert failure == StepFailure("the context has no number from_latitude", "missing_coordinates", retryable=False)


def test_a_handler_that_was_not_asked_for_at_the_start_is_not_found(registry: HandlerRegistry) -> None:
    with pytest.raises(
        HandlerNotFoundError, match=r"'native:answers\.so#crash' was not loaded when this worker started"
    ):
        registry.resolve(spec("crash"))


@pytest.mark.parametrize(("key", "value"), [("method", "other"), ("resolver", "class_lookup")])
def test_a_native_handler_has_no_methods_and_no_resolvers(registry: HandlerRegistry, key: str, value: str) -> None:
    with pytest.raises(HandlerNotFoundError, match=f"is native and has no {key} '{value}'; leave the key out"):
        registry.resolve(spec("echo", **{key: value}))


def test_a_process_without_native_code_finds_no_native_handler() -> None:
    with pytest.raises(HandlerNotFoundError, match="native handlers are not loaded here"):
        HandlerRegistry({}, {}, []).resolve(spec("echo"))


def test_the_supervisor_looks_at_files_and_calls_nothing(directory: Path, make_context) -> None:
    registry = HandlerRegistry({}, {}, [], HandlerFiles(directory))

    bound = registry.resolve(spec("whatever_it_may_be_called"))

    assert bound.name == "native:answers.so#whatever_it_may_be_called"
    with pytest.raises(HandlerNotFoundError, match="this process loads no native code"):
        bound.invoke(make_context())
    with pytest.raises(NativeLibraryError, match=r"'gone\.so' cannot be found"):
        registry.resolve(spec("run", "gone.so"))
