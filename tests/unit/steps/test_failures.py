import pickle

import pytest

from tasker_actors.errors import TaskerError
from tasker_actors.steps.failures import ErrorType, InvalidInputError, PermanentError, RetryableError, StepTimeoutError


@pytest.mark.parametrize("kind", [RetryableError, PermanentError])
def test_what_a_handler_gives_with_its_error_is_kept(kind):
    error = kind("card declined", error_code="DECLINED", retry_after=1.5, metadata={"card": "visa"})

    assert str(error) == error.message == "card declined"
    assert (error.error_code, error.retry_after, error.metadata) == ("DECLINED", 1.5, {"card": "visa"})
    assert isinstance(error, TaskerError)


def test_message_may_be_given_by_name_and_context_joins_the_metadata():
    error = PermanentError(message="no", metadata={"a": 1, "b": 1}, context={"b": 2})

    assert str(error) == "no"
    assert error.metadata == {"a": 1, "b": 2}


def test_metadata_is_a_copy():
    given = {"a": 1}
    error = RetryableError("x", metadata=given)
    error.metadata["b"] = 2

    assert given == {"a": 1}


def test_the_caller_cannot_pass_details_by_position():
    with pytest.raises(TypeError):
        RetryableError("x", "CODE")


def test_invalid_input_is_permanent():
    assert issubclass(InvalidInputError, PermanentError)


def test_timeout_passes_a_handlers_except_exception():
    def handler():
        try:
            raise StepTimeoutError
        except Exception:  # noqa: BLE001 - what this test is about
            return "swallowed"

    with pytest.raises(StepTimeoutError, match="time limit"):
        handler()


def test_timeout_can_be_made_by_the_interpreter_without_arguments():
    assert str(StepTimeoutError()) == "the step ran past its time limit"


def test_errors_survive_pickling():
    # concurrent.futures and multiprocessing pickle what a user's pool raised.
    error = pickle.loads(pickle.dumps(RetryableError("busy", error_code="B", retry_after=2)))  # noqa: S301 - own bytes

    assert (str(error), error.error_code, error.retry_after) == ("busy", "B", 2)


def test_error_types_are_plain_text():
    assert [str(one) for one in ErrorType] == [
        "handler_error",
        "retryable_error",
        "permanent_error",
        "validation_error",
        "timeout",
    ]
