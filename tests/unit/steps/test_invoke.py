import asyncio
from collections import OrderedDict
from enum import Enum
from types import MappingProxyType

import pytest
from pydantic import BaseModel, field_serializer

from tasker_actors.events.codec import encode_payload
from tasker_actors.steps.failures import InvalidInputError, PermanentError, RetryableError, StepTimeoutError
from tasker_actors.steps.invoke import MAX_MESSAGE_CHARS, failure_from, interpret
from tasker_actors.steps.result import StepHandlerResult
from tasker_actors.workflow.outcome import StepFailure, StepSuccess


class Quote(BaseModel):
    price: float
    note: str | None = None


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ({"a": 1}, {"a": 1}),
        ({}, {}),
        (None, {}),
        (Quote(price=1.5), {"price": 1.5, "note": None}),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ([1, 2], {"result": [1, 2]}),
        ("text", {"result": "text"}),
        (0, {"result": 0}),
        (False, {"result": False}),
    ],
)
def test_what_a_handler_may_return(value, result):
    outcome = interpret(value)

    assert isinstance(outcome, StepSuccess)
    assert outcome.result == result
    assert outcome.metadata == {}


@pytest.mark.parametrize(
    ("value", "result"),
    [({"a": 1}, {"a": 1}), (None, {}), ([1], [1]), (5, 5), (Quote(price=2), {"price": 2.0, "note": None})],
)
def test_the_result_of_a_step_handler_result_is_taken_as_it_is(value, result):
    outcome = interpret(StepHandlerResult.success(value, metadata={"source": "cache"}))

    assert outcome == StepSuccess(result, {"source": "cache"})


def test_a_stated_failure_keeps_every_detail():
    outcome = interpret(
        StepHandlerResult.failure(
            "declined", error_type="card", error_code="E1", retryable=False, metadata={"m": 1}, retry_after=1.234
        )
    )

    assert outcome == StepFailure("declined", "card", "E1", False, 1234, {"m": 1})


def test_a_stated_failure_may_leave_everything_out():
    outcome = interpret(StepHandlerResult(is_success=False))

    assert outcome.error_type == "handler_error"
    assert outcome.retryable is True
    assert "without a message" in outcome.message


def test_a_model_that_cannot_be_written_fails_the_step_for_good():
    class Broken(BaseModel):
        a: int

        @field_serializer("a")
        def write(self, value):
            raise RuntimeError("no")

    outcome = interpret(Broken(a=1))

    assert (outcome.error_type, outcome.retryable) == ("invalid_result", False)
    assert "cannot be read" in outcome.message


@pytest.mark.parametrize(
    ("raised", "error_type"),
    [(SystemExit(1), "handler_error"), (MemoryError(), "handler_error"), (StepTimeoutError(), "timeout")],
)
def test_what_ends_a_handler_ends_its_serializer_too(raised, error_type):
    class Broken(BaseModel):
        a: int

        @field_serializer("a")
        def write(self, value):
            raise raised

    outcome = interpret(Broken(a=1))

    assert (outcome.error_type, outcome.retryable) == (error_type, True)


def test_a_coroutine_that_nobody_awaited_fails_the_step_and_leaves_no_warning():
    async def work(): ...

    outcome = interpret(work())

    assert (outcome.error_type, outcome.retryable) == ("invalid_result", False)
    assert "async def" in outcome.message


@pytest.mark.parametrize(
    ("exception", "message", "error_type", "retryable"),
    [
        (ValueError("boom"), "boom", "handler_error", True),
        (KeyError("order_id"), "KeyError: 'order_id'", "handler_error", True),
        (AssertionError(), "AssertionError", "handler_error", True),
        (TimeoutError("the bank's"), "the bank's", "handler_error", True),
        (RetryableError("busy"), "busy", "retryable_error", True),
        (PermanentError("no"), "no", "permanent_error", False),
        (InvalidInputError("bad"), "bad", "validation_error", False),
        (StepTimeoutError(), "the step ran past its time limit", "timeout", True),
        (SystemExit(3), "handler called sys.exit()", "handler_error", True),
        (MemoryError(), "the handler ran out of memory", "handler_error", True),
        (KeyboardInterrupt(), "KeyboardInterrupt", "handler_error", True),
        (asyncio.CancelledError(), "CancelledError", "handler_error", True),
        (RecursionError("deep"), "deep", "handler_error", True),
    ],
)
def test_what_a_handler_may_raise(exception, message, error_type, retryable):
    assert failure_from(exception) == StepFailure(message, error_type, None, retryable, None, {})


@pytest.mark.parametrize("kind", [RetryableError, PermanentError])
def test_details_of_an_error_are_kept(kind):
    outcome = failure_from(kind("no", error_code="E1", retry_after=30, metadata={"a": 1}, context={"b": 2}))

    assert (outcome.error_code, outcome.retry_after_ms, outcome.metadata) == ("E1", 30_000, {"a": 1, "b": 2})


def test_subclasses_of_the_two_errors_count_as_them():
    class CardDeclinedError(PermanentError):
        pass

    assert failure_from(CardDeclinedError("no")).error_type == "permanent_error"


def test_code_and_delay_of_other_exceptions_count_too():
    class RateLimitedError(Exception):
        error_code = 429
        retry_after = 2.5

        def __init__(self):
            super().__init__("slow down")
            self.metadata = {"not": "ours"}

    outcome = failure_from(RateLimitedError())

    assert (outcome.error_code, outcome.retry_after_ms, outcome.metadata) == ("429", 2500, {})


def test_the_only_error_of_a_task_group_counts_as_raised_by_itself():
    async def fail():
        raise PermanentError("no", error_code="E1")

    async def handler():
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    with pytest.raises(BaseExceptionGroup) as raised:
        asyncio.run(handler())

    assert failure_from(raised.value) == StepFailure("no", "permanent_error", "E1", False)


def test_several_errors_of_a_group_are_one_handler_error():
    outcome = failure_from(ExceptionGroup("two", [PermanentError("a"), ValueError("b")]))

    assert (outcome.error_type, outcome.retryable) == ("handler_error", True)


@pytest.mark.parametrize(
    "seconds", ["soon", -1, float("nan"), True, [], -(10**5000)], ids=lambda seconds: type(seconds).__name__
)
def test_a_delay_that_is_no_number_of_seconds_is_named_and_not_used(seconds):
    for outcome in (
        failure_from(RetryableError("x", retry_after=seconds)),
        interpret(StepHandlerResult.failure("x", retry_after=seconds)),
    ):
        assert outcome.retry_after_ms is None
        assert "is not a number of seconds" in outcome.metadata["retry_after_ignored"]


@pytest.mark.parametrize(
    "seconds", [float("inf"), 1e300, 10**400, 366 * 86400], ids=["infinite", "float", "int", "days"]
)
def test_a_delay_beyond_a_year_is_shortened_and_said_so(seconds):
    outcome = failure_from(RetryableError("x", retry_after=seconds))

    assert outcome.retry_after_ms == 365 * 86_400_000
    assert "retry_after_shortened" in outcome.metadata


@pytest.mark.parametrize(("seconds", "ms"), [(0, 0), (1.1, 1100), (60, 60_000), (365 * 86400, 365 * 86_400_000)])
def test_a_delay_in_seconds_becomes_whole_milliseconds(seconds, ms):
    assert failure_from(RetryableError("x", retry_after=seconds)).retry_after_ms == ms


def test_texts_can_be_stored():
    outcome = failure_from(PermanentError("nul \x00 and \ud800", error_code="c\x00"))

    assert outcome.message == "nul \\x00 and \\ud800"
    assert outcome.error_code == "c\\x00"
    encode_payload([outcome.message, outcome.error_code])
    stated = interpret(StepHandlerResult.failure("a\x00", error_type="t\x00", error_code="c\ud800"))
    encode_payload([stated.message, stated.error_type, stated.error_code])


def test_a_huge_message_is_shortened():
    message = failure_from(ValueError("x" * 1_000_000)).message

    assert len(message) < MAX_MESSAGE_CHARS + 50
    assert "1000000 characters" in message


def test_an_enum_as_error_code_is_written_as_its_value():
    class Code(Enum):
        DECLINED = "declined"

    assert failure_from(PermanentError("no", error_code=Code.DECLINED)).error_code == "declined"


def test_exceptions_that_resist_being_read():
    class Hostile(Exception):  # noqa: N818 - named for what it does
        def __str__(self):
            raise RuntimeError("no text")

        @property
        def error_code(self):
            raise RuntimeError("no code")

        @property
        def retry_after(self):
            raise RuntimeError("no delay")

    outcome = failure_from(Hostile())

    assert "Hostile cannot be read" in outcome.message
    assert (outcome.error_type, outcome.error_code, outcome.retry_after_ms) == ("handler_error", None, None)


def test_metadata_that_was_replaced_by_something_else_does_not_matter():
    error = PermanentError("no")
    error.metadata = ["not", "a", "mapping"]

    assert failure_from(error).metadata == {}
