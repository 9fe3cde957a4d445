"""From what a native handler returned to a result like any other handler's. Nothing here raises."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasker_actors.native.library import MAX_ANSWER_BYTES, Answer
from tasker_actors.steps.invoke import INVALID_RESULT
from tasker_actors.steps.result import StepHandlerResult

TASKER_OK = 0
TASKER_FAILED = 1

# orjson makes floats of integers beyond 64 bits; the standard library keeps them, so that they are refused later on.
_LONG_NUMBER = re.compile(rb"\d{19}")


class _Failure(BaseModel):
    """The JSON of a failure, as the header describes it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    message: Annotated[str, Field(min_length=1)]
    error_type: str | None = None
    error_code: str | None = None
    retryable: bool = True
    retry_after: Annotated[float, Field(ge=0)] | None = None
    metadata: dict[str, Any] = {}


def step_result(answer: Answer) -> StepHandlerResult:
    """Read an answer; one that breaks the interface fails for good: another attempt would answer the same."""
    if answer.code not in (TASKER_OK, TASKER_FAILED):
        return _invalid(
            f"returned {answer.code}; it must be {TASKER_OK} (TASKER_OK) or {TASKER_FAILED} (TASKER_FAILED)"
        )
    if answer.length > MAX_ANSWER_BYTES:
        return _invalid(f"answered with {answer.length} bytes, at most {MAX_ANSWER_BYTES} are allowed")
    if answer.data is None:
        return _invalid("left tasker_result.data NULL; it must be JSON")
    try:
        value = orjson.loads(answer.data)
        if _LONG_NUMBER.search(answer.data):
            value = json.loads(answer.data)
    except (orjson.JSONDecodeError, RecursionError) as error:
        return _invalid(f"answered with what cannot be read as JSON in UTF-8: {error}")
    if answer.code == TASKER_FAILED:
        return _failure(value)
    return StepHandlerResult.success(value)


def _failure(value: Any) -> StepHandlerResult:
    try:
        stated = _Failure.model_validate(value)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        return _invalid(f"failed with JSON that is no description of a failure: {faults}")
    kind = {} if stated.error_type is None else {"error_type": stated.error_type}
    return StepHandlerResult.failure(
        stated.message,
        **kind,
        error_code=stated.error_code,
        retryable=stated.retryable,
        metadata=stated.metadata,
        retry_after=stated.retry_after,
    )


def _invalid(what: str) -> StepHandlerResult:
    return StepHandlerResult.failure(f"the native handler {what}", error_type=INVALID_RESULT, retryable=False)
