"""Errors as text, as JSON and as exit codes."""

import pytest

from tasker_actors.cli.errors import InputFileError, WorkFailedError, error_document
from tasker_actors.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    Fault,
    RequestRefusedError,
    SupervisorUnreachableError,
    TemplateError,
)


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (401, 2), (403, 2), (404, 1), (409, 1), (413, 2), (422, 2), (500, 1), (503, 1)]
)
def test_input_that_cannot_be_used_is_a_usage_error_and_other_refusals_are_failures(status, code):
    assert RequestRefusedError(status, {"code": "x", "message": "no"}).exit_code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SupervisorUnreachableError("x"), 3),
        (DatabaseUnavailableError("x"), 3),
        (InputFileError("x"), 2),
        (ConfigurationError("x"), 2),
        (WorkFailedError("x"), 1),
    ],
)
def test_exit_codes(error, code):
    assert error.exit_code == code


def test_a_refusal_is_told_with_the_path_of_each_fault():
    error = RequestRefusedError(
        422,
        {
            "code": "invalid_context",
            "message": "the context does not fit the template",
            "faults": [{"path": "/context/amount", "message": "is no number"}, {"path": "", "message": "is empty"}],
            "index": 3,
            "request_id": None,
        },
    )

    assert str(error).split("\n") == [
        "the context does not fit the template",
        "  /context/amount: is no number",
        "  is empty",
        "  index: 3",
    ]


def test_a_missing_key_says_which_variable_to_set():
    assert "set TASKER_API_KEY" in str(RequestRefusedError(401, {"code": "unauthorized", "message": "no key"}))


def test_a_refusal_without_a_message_has_its_status():
    assert str(RequestRefusedError(500, {})) == "the supervisor answered with HTTP 500"


def test_the_json_of_a_refusal_is_the_supervisors_with_the_status():
    error = RequestRefusedError(404, {"code": "unknown_task", "message": "no task"})

    assert error_document(error) == {"error": {"code": "unknown_task", "message": "no task", "status": 404}}


def test_the_json_of_another_error_has_a_code_made_of_its_name():
    document = error_document(SupervisorUnreachableError("nobody answers"))

    assert document == {"error": {"code": "supervisor_unreachable", "message": "nobody answers"}}


def test_the_json_of_a_template_error_has_every_fault():
    error = TemplateError([Fault("a.yaml", "s", "retry", "is bad"), Fault("b.yaml", None, "", "is empty")])

    assert error_document(error)["error"]["faults"] == ["a.yaml: step s: retry: is bad", "b.yaml: is empty"]
