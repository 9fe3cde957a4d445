from enum import Enum

import pytest

from tasker_actors.steps.failures import ErrorType
from tasker_actors.steps.result import StepHandlerResult


def test_success_has_its_result_and_metadata():
    result = StepHandlerResult.success({"total": 5}, metadata={"source": "cache"})

    assert result.is_success
    assert result.is_success_result()
    assert not result.is_failure_result()
    assert (result.result, dict(result.metadata)) == ({"total": 5}, {"source": "cache"})


def test_failure_is_retryable_and_a_handler_error_unless_said_otherwise():
    result = StepHandlerResult.failure("gateway down")

    assert not result.is_success
    assert result.is_failure_result()
    assert (result.error_message, result.error_type, result.retryable) == ("gateway down", "handler_error", True)
    assert (result.error_code, result.retry_after, dict(result.metadata)) == (None, None, {})


def test_failure_keeps_every_detail():
    result = StepHandlerResult.failure(
        "no", error_type="declined", error_code="E1", retryable=False, metadata={"a": 1}, retry_after=3
    )

    assert (result.error_type, result.error_code, result.retryable, result.retry_after) == ("declined", "E1", False, 3)
    assert result.metadata == {"a": 1}


def test_failure_takes_the_positions_of_tasker_py():
    result = StepHandlerResult.failure("no", "declined", False, {"a": 1}, "E1")

    assert (result.error_type, result.retryable, result.metadata, result.error_code) == (
        "declined",
        False,
        {"a": 1},
        "E1",
    )


def test_an_enum_as_error_type_becomes_its_value():
    class Kind(str, Enum):  # noqa: UP042 - its str() is "Kind.DECLINED", which is the trap
        DECLINED = "declined"

    assert StepHandlerResult.failure("no", error_type=Kind.DECLINED).error_type == "declined"
    assert type(StepHandlerResult.failure("no", error_type=ErrorType.TIMEOUT).error_type) is str


@pytest.mark.parametrize("metadata", [[("a", 1)], "text", 5])
def test_metadata_that_is_no_mapping_is_refused_at_once(metadata):
    with pytest.raises(TypeError, match="must be a mapping"):
        StepHandlerResult.failure("no", metadata=metadata)


def test_each_result_has_metadata_of_its_own():
    first = StepHandlerResult.success({})
    first.metadata["a"] = 1

    assert StepHandlerResult.success({}).metadata == {}
