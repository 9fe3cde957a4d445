"""From what a handler returned or raised to the outcome of its attempt (SPEC 6).

Nothing here raises: a handler that returns or raises the strangest object fails its own attempt and no more.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from tasker_actors.events.text import USER_ERRORS, described, shortened, storable_text
from tasker_actors.steps.failures import (
    AttemptError,
    ErrorType,
    InvalidInputError,
    PermanentError,
    RetryableError,
    StepTimeoutError,
)
from tasker_actors.steps.result import StepHandlerResult
from tasker_actors.workflow.outcome import StepFailure, StepOutcome, StepSuccess

MAX_MESSAGE_CHARS = 8192
MAX_NAME_CHARS = 255
"""Of an error type or code: one is a metric's label, both are columns that people filter by."""

INVALID_RESULT = "invalid_result"
"""Error type of a return value that cannot become a result; another attempt would return the same."""

_FIXED_MESSAGES: tuple[tuple[type[BaseException], str], ...] = (
    (SystemExit, "handler called sys.exit()"),
    (MemoryError, "the handler ran out of memory"),
)

_ERROR_TYPES: tuple[tuple[type[BaseException], ErrorType, bool], ...] = (
    (InvalidInputError, ErrorType.VALIDATION_ERROR, False),
    (PermanentError, ErrorType.PERMANENT_ERROR, False),
    (RetryableError, ErrorType.RETRYABLE_ERROR, True),
    (AttemptError, ErrorType.HANDLER_ERROR, True),
    (StepTimeoutError, ErrorType.TIMEOUT, True),
)
"""The first class that fits decides, so a subclass stands before its ancestor; whether to retry is the third, unless
the error itself says otherwise."""

MAX_RETRY_AFTER_S = 365 * 24 * 60 * 60


def interpret(value: Any) -> StepOutcome:
    """Turn what a handler returned into a success or a failure.

    A dict or a pydantic model is the result, None an empty object; any other value `v` becomes `{"result": v}`, as in
    tasker-py. The result of a StepHandlerResult is taken as it is. Whether it is JSON is checked where it is encoded.
    """
    try:
        return _outcome(value)
    except BaseException as error:  # noqa: BLE001 - a model's serializers are the user's code
        # pydantic wraps whatever a serializer raises, the end of the time limit too.
        cause = error.__cause__ or error if isinstance(error, PydanticSerializationError) else error
        if isinstance(cause, AttemptError | MemoryError) or not isinstance(cause, Exception):
            return failure_from(cause)
        return _invalid_result(f"the handler's result cannot be read: {described(error)}")


def failure_from(exception: BaseException) -> StepFailure:
    """Turn what a handler raised into the failure of its attempt.

    The only error of an exception group counts as raised by itself, because a task group wraps even one.
    """
    while isinstance(exception, BaseExceptionGroup) and len(exception.exceptions) == 1:
        exception = exception.exceptions[0]
    # Says the least that can be said of a MemoryError: there may be no memory for more.
    for kind, message in _FIXED_MESSAGES:
        if isinstance(exception, kind):
            return StepFailure(message, ErrorType.HANDLER_ERROR.value)
    for kind, error_type, retryable in _ERROR_TYPES:
        if isinstance(exception, kind):
            return _failure(exception, error_type, retryable=retryable)
    return _failure(exception, ErrorType.HANDLER_ERROR, retryable=True)


def _outcome(value: Any) -> StepOutcome:
    if isinstance(value, StepHandlerResult):
        return _stated(value)
    if isinstance(value, dict):
        return StepSuccess(value)
    if value is None:
        return StepSuccess({})
    if isinstance(value, BaseModel | Mapping):
        return StepSuccess(_json_like(value))
    if inspect.iscoroutine(value):
        value.close()
        return _invalid_result(
            "the handler returned a coroutine that nobody awaits: define it with async def, or await it"
        )
    return StepSuccess({"result": value})


def _stated(value: StepHandlerResult) -> StepOutcome:
    metadata = dict(value.metadata)
    if value.is_success:
        return StepSuccess(_json_like({} if value.result is None else value.result), metadata)
    retry_after_ms, note = _milliseconds(value.retry_after)
    return StepFailure(
        message=_storable(value.error_message) or "the handler reported a failure without a message",
        error_type=_storable(value.error_type, MAX_NAME_CHARS) or ErrorType.HANDLER_ERROR.value,
        error_code=_storable(value.error_code, MAX_NAME_CHARS),
        retryable=bool(value.retryable),
        retry_after_ms=retry_after_ms,
        metadata=metadata | note,
    )


def _json_like(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return dict(value) if isinstance(value, Mapping) else value


def _invalid_result(message: str) -> StepFailure:
    return StepFailure(message, INVALID_RESULT, retryable=False)


def _failure(exception: BaseException, error_type: ErrorType, *, retryable: bool) -> StepFailure:
    retry_after_ms, note = _milliseconds(_attribute(exception, "retry_after"))
    metadata = None
    if isinstance(exception, AttemptError):
        metadata = _attribute(exception, "metadata")
        stated = _attribute(exception, "retryable")
        retryable = stated if isinstance(stated, bool) else retryable
    return StepFailure(
        message=_message(exception),
        error_type=error_type.value,
        error_code=_storable(_attribute(exception, "error_code"), MAX_NAME_CHARS),
        retryable=retryable,
        retry_after_ms=retry_after_ms,
        metadata=_copied(metadata) | note,
    )


def _message(exception: BaseException) -> str:
    name = type(exception).__name__
    text = _storable(exception)
    # str() of a KeyError is its key alone, and of many others nothing at all.
    if not text or isinstance(exception, KeyError):
        return f"{name}: {text}" if text else name
    return text


def _attribute(exception: BaseException, name: str) -> Any:
    try:
        return getattr(exception, name, None)
    except USER_ERRORS:  # a property of the user's exception class
        return None


def _copied(metadata: Any) -> dict[str, Any]:
    try:
        return dict(metadata) if isinstance(metadata, Mapping) else {}
    except USER_ERRORS as error:  # the mapping is the user's own
        return {"metadata_ignored": f"it cannot be read: {type(error).__name__}"}


def _storable(value: Any, limit: int = MAX_MESSAGE_CHARS) -> str | None:
    """Return text that PostgreSQL stores, shortened to about `limit` characters; None for None.

    NUL and lone surrogates are written as escapes: this is prose about a failure, not data that must stay exact.
    """
    if value is None:
        return None
    try:
        text = str(value.value if isinstance(value, Enum) else value)
    except USER_ERRORS as error:  # __str__ of the user's class
        text = f"(the text of this {type(value).__name__} cannot be read: {type(error).__name__})"
    return storable_text(shortened(text, limit))


def _milliseconds(seconds: Any) -> tuple[int | None, dict[str, str]]:
    """Turn a `retry_after` into whole milliseconds; what cannot be used is named in the failure's metadata."""
    if seconds is None:
        return None, {}
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        return None, {"retry_after_ignored": f"{_storable(seconds, MAX_NAME_CHARS)} is not a number of seconds"}
    if seconds > MAX_RETRY_AFTER_S:
        return MAX_RETRY_AFTER_S * 1000, {"retry_after_shortened": "it was more than a year"}
    return round(seconds * 1000), {}
