"""What the command line says about a task, as the JSON of a request."""

import json
from pathlib import Path

import pytest

from tasker_actors.cli.errors import InputFileError
from tasker_actors.cli.task_request import TaskRequest, read_context
from tasker_actors.errors import ConfigurationError


def test_a_template_is_namespace_name_and_version():
    assert TaskRequest.for_template("flights/day@1.2.0", "id") == TaskRequest("flights", "day", "1.2.0", "id")
    assert TaskRequest.for_template("flights/day", None) == TaskRequest("flights", "day", None, None)


@pytest.mark.parametrize("text", ["", "day", "/day", "flights/", "flights/day@", "a/b/c", "a/b@1@2", "a b/c", "a/b\n"])
def test_anything_else_is_no_template(text):
    with pytest.raises(ConfigurationError, match="NAMESPACE/NAME@VERSION") as refused:
        TaskRequest.for_template(text, None)
    assert repr(text) in str(refused.value)


def test_a_request_has_what_was_given_and_nothing_else():
    context = b'{"amount": 12345678901234567890123, "rate": 1.10}'

    full = TaskRequest("flights", "day", "1.0.0", "0190a9a2-0000-7000-8000-000000000000").body(context)
    short = TaskRequest("flights", "day", None, None).body(b"{}")

    assert json.loads(full) == {
        "namespace": "flights",
        "name": "day",
        "version": "1.0.0",
        "correlation_id": "0190a9a2-0000-7000-8000-000000000000",
        "context": {"amount": 12345678901234567890123, "rate": 1.1},
    }
    assert context in full
    assert json.loads(short) == {"namespace": "flights", "name": "day", "context": {}}


def test_the_overhead_is_what_a_request_adds_to_its_context_and_a_comma():
    request = TaskRequest("flights", "día", None, None)

    assert request.overhead == len(request.body(b'{"a":1}')) - len(b'{"a":1}') + 1


def test_a_context_comes_from_an_option_or_a_file(tmp_path):
    file = tmp_path / "context.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n')

    assert read_context('{"a": 1}', None) == b'{"a": 1}'
    assert read_context(None, file) == b'{"a": 1}'


@pytest.mark.parametrize("text", ["", "nope", "[1]", '"text"', "null", '{"a": NaN}', '{"a": "\udcff"}'])
def test_a_context_that_is_no_object_is_refused_by_name(text):
    with pytest.raises(InputFileError, match=r"^--context: ") as refused:
        read_context(text, None)
    assert refused.value.exit_code == 2


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputFileError, match=r"missing\.json: No such file"):
        read_context(None, tmp_path / "missing.json")


def test_a_context_file_that_never_ends_is_refused():
    with pytest.raises(InputFileError, match="--context-file /dev/zero: it has more than the"):
        read_context(None, Path("/dev/zero"))


def test_a_task_starts_at_a_moment_or_after_a_time():
    request = TaskRequest.for_template("flights/day", None)

    assert json.loads(request.starting("2100-01-01T00:00:00Z", None).body(b"{}"))["run_at"] == "2100-01-01T00:00:00Z"
    assert json.loads(request.starting(None, "2h").body(b"{}"))["delay_seconds"] == 7200
    assert request.starting(None, None) == request


@pytest.mark.parametrize(
    ("run_at", "delay", "message"),
    [("2100-01-01T00:00:00Z", "2h", "--run-at or --delay, not both"), (None, "soon", r"--delay: 'soon' is no length")],
)
def test_a_start_that_cannot_be_meant_is_refused(run_at, delay, message):
    with pytest.raises(ConfigurationError, match=message):
        TaskRequest.for_template("flights/day", None).starting(run_at, delay)
