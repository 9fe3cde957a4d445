"""Refusals of the HTTP API as errors of their own types."""

import pytest

from tasker_actors.errors import (
    AccessDeniedError,
    DuplicateTaskError,
    InvalidRequestError,
    RequestFault,
    RequestRefusedError,
    SupervisorUnavailableError,
    SupervisorUnreachableError,
    TaskFinishedError,
    TaskNotFoundError,
    UnavailableError,
    UnknownTemplateError,
    refusal,
)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_json", InvalidRequestError),
        (400, "missing_idempotency_key", InvalidRequestError),
        (413, "too_large", InvalidRequestError),
        (415, "unsupported_media_type", InvalidRequestError),
        (422, "invalid_context", InvalidRequestError),
        (401, "unauthorized", AccessDeniedError),
        (403, "forbidden", AccessDeniedError),
        (404, "unknown_template", UnknownTemplateError),
        (404, "unknown_task", TaskNotFoundError),
        (404, "unknown_step", RequestRefusedError),
        (409, "duplicate_task", DuplicateTaskError),
        (409, "task_finished", TaskFinishedError),
        (409, "entry_closed", RequestRefusedError),
        (500, "internal_error", RequestRefusedError),
        (503, "database_busy", SupervisorUnavailableError),
        (504, "publish_timeout", SupervisorUnavailableError),
    ],
)
def test_a_refusal_has_the_type_of_what_happened(status, code, kind):
    error = refusal(status, {"code": code, "message": "no", "index": 3, "faults": [{"path": "/a", "message": "b"}]})
    assert type(error) is kind
    assert (error.status, error.code, error.index) == (status, code, 3)
    assert error.faults == (RequestFault("/a", "b"),)


def test_a_refusal_of_a_stranger_is_one_too():
    error = refusal(418, {"message": "tea", "index": "x", "faults": None})
    assert type(error) is RequestRefusedError
    assert (error.code, error.index, error.faults) == ("", None, ())


def test_whatever_may_pass_is_unavailable():
    assert isinstance(SupervisorUnreachableError("nobody"), UnavailableError)
    assert isinstance(refusal(503, {}), UnavailableError)
    assert SupervisorUnreachableError("nobody").was_sent
