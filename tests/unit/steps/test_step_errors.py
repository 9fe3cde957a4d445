import pytest

from tasker_actors import ErrorType, RetryableError, StepTimeoutError, StepValidationError, errors
from tasker_actors.steps import step_errors
from tasker_actors.steps.failures import AttemptError, PermanentError
from tasker_actors.steps.invoke import failure_from

PERMANENT = ["Validation", "NotFound", "Authentication", "Authorization", "Configuration", "BusinessLogic"]
RETRYABLE = ["Timeout", "Network", "RateLimit", "ServiceUnavailable", "ResourceContention"]


@pytest.mark.parametrize(
    ("name", "error_type", "retryable"),
    [(name, "permanent_error", False) for name in PERMANENT] + [(name, "retryable_error", True) for name in RETRYABLE],
)
def test_each_error_fails_its_attempt_as_its_family_does(name, error_type, retryable):
    error = getattr(step_errors, f"{name}Error")("why", error_code="C", retry_after=2, metadata={"a": 1})

    failure = failure_from(error)

    assert (failure.error_type, failure.retryable, failure.message) == (error_type, retryable, "why")
    assert (failure.error_code, failure.retry_after_ms, failure.metadata) == ("C", 2000, {"a": 1})
    assert isinstance(error, errors.TaskerError)
    assert error.to_dict() == {
        "error_type": f"{name}Error",
        "message": "why",
        "retryable": retryable,
        "metadata": {"a": 1},
    }


def test_an_error_may_say_itself_whether_to_retry():
    assert failure_from(AttemptError("why")).error_type == "handler_error"
    assert failure_from(AttemptError("why")).retryable
    assert not failure_from(AttemptError("why", retryable=False)).retryable
    assert not failure_from(RetryableError("why", retryable=False)).retryable


def test_an_error_that_is_unsure_goes_with_its_class():
    class OddError(PermanentError):
        @property
        def retryable(self):
            return "perhaps"

    class BrokenError(RetryableError):
        @property
        def retryable(self):
            raise RuntimeError("no idea")

    assert not failure_from(OddError("why")).retryable
    assert failure_from(BrokenError("why")).retryable


def test_two_errors_have_another_name_at_the_top():
    assert StepTimeoutError is step_errors.TimeoutError
    assert StepValidationError is step_errors.ValidationError


@pytest.mark.parametrize(
    ("error", "retryable", "why"),
    [
        (step_errors.NetworkError("x"), True, "explicit_attribute"),
        (PermanentError("x"), False, "explicit_attribute"),
        (KeyError("x"), False, "permanent_class"),
        (ConnectionResetError("x"), True, "retryable_class"),
        (TimeoutError("x"), True, "retryable_class"),
        (RuntimeError("x"), True, "default"),
    ],
)
def test_the_classifier_says_whether_and_why(error, retryable, why):
    assert step_errors.get_classifier().classify(error) == {
        "error_type": type(error).__name__,
        "retryable": retryable,
        "classification": why,
    }
    assert step_errors.is_retryable(error) is retryable
    assert step_errors.is_permanent(error) is not retryable


def test_the_default_can_be_the_other_way():
    assert step_errors.ErrorClassifier(default_retryable=False).permanent(RuntimeError("x"))


def test_standard_types_are_known():
    assert ErrorType.is_standard("timeout")
    assert not ErrorType.is_standard("no_stock")
    assert [one.value for one in ErrorType if ErrorType.is_typically_retryable(one)] == ["retryable_error", "timeout"]
