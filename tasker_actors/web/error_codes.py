"""Every code of an error that the port answers with, in one table. README's table is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from tasker_actors.workflow.batches import INVALID_BATCHES
from tasker_actors.workflow.decision import INVALID_DECISION


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code, the statuses that it comes with, and what it means to a client."""

    code: str
    statuses: tuple[HTTPStatus, ...]
    meaning: str


def _code(code: str, meaning: str, *statuses: HTTPStatus) -> ErrorCode:
    return ErrorCode(code, statuses, meaning)


_S = HTTPStatus

ERROR_CODES: Final = (
    _code("bad_request", "what came is no HTTP request", _S.BAD_REQUEST),
    _code("bad_json", "the body is no JSON that can be stored", _S.BAD_REQUEST),
    _code("bad_path", "an id in the path is no UUID", _S.BAD_REQUEST),
    _code("missing_idempotency_key", "the template wants an `idempotency_key`", _S.BAD_REQUEST),
    _code("unauthorized", "the key is missing or wrong", _S.UNAUTHORIZED),
    _code("forbidden_host", "without a key only requests to localhost are answered", _S.FORBIDDEN),
    _code("not_found", "there is no such path", _S.NOT_FOUND),
    _code("unknown_task", "there is no such task", _S.NOT_FOUND),
    _code("unknown_step", "the task has no such step", _S.NOT_FOUND),
    _code("unknown_template", "there is no such template, or no such version of it", _S.NOT_FOUND),
    _code("unknown_namespace", "no template of this namespace was ever registered", _S.NOT_FOUND),
    _code("unknown_schedule", "there is no such schedule", _S.NOT_FOUND),
    _code("unknown_entry", "there is no such entry among the dead", _S.NOT_FOUND),
    _code("method_not_allowed", "the path takes other methods, which `Allow` names", _S.METHOD_NOT_ALLOWED),
    _code("not_acceptable", "the answer is JSON, which the Accept header does not take", _S.NOT_ACCEPTABLE),
    _code("header_timeout", "the request's headers did not arrive in time", _S.REQUEST_TIMEOUT),
    _code("request_timeout", "the body did not arrive in time", _S.REQUEST_TIMEOUT),
    _code("duplicate_task", "a task with this identity is there already, or is in the batch twice", _S.CONFLICT),
    _code("task_finished", "the task is finished, and stays as it is", _S.CONFLICT),
    _code("step_finished", "the step is finished, and stays as it is", _S.CONFLICT),
    _code("step_running", "the step is running", _S.CONFLICT),
    _code("step_enqueued", "the step waits to run already", _S.CONFLICT),
    _code("step_waits", "the step waits for others: act on those", _S.CONFLICT),
    _code("failure_tolerated", "the step's batch has gone on without it", _S.CONFLICT),
    _code("nothing_failed", "the task has no failed step that could run again", _S.CONFLICT),
    _code("entry_exists", "the task has an entry that is pending", _S.CONFLICT),
    _code("entry_closed", "the entry is closed", _S.CONFLICT),
    _code("body_too_large", "the body has more than `http.max_body_bytes`", _S.REQUEST_ENTITY_TOO_LARGE),
    _code("unsupported_media_type", "the body is not declared as JSON", _S.UNSUPPORTED_MEDIA_TYPE),
    _code("invalid", "keys or parameters cannot be used: `faults` has each of them", _S.UNPROCESSABLE_ENTITY),
    _code("invalid_context", "the context does not fit the template's `input_schema`", _S.UNPROCESSABLE_ENTITY),
    _code(INVALID_DECISION, "a decision by hand breaks the rules of decisions", _S.UNPROCESSABLE_ENTITY),
    _code(INVALID_BATCHES, "batches by hand break the rules of batches", _S.UNPROCESSABLE_ENTITY),
    _code("too_many_steps", "batches by hand do not fit into their task", _S.UNPROCESSABLE_ENTITY),
    _code("too_large", "a payload or a result is larger than allowed", _S.UNPROCESSABLE_ENTITY),
    _code("schema_violation", "the event became a dead letter: it breaks its schema", _S.UNPROCESSABLE_ENTITY),
    _code(
        "headers_too_large",
        "line and headers have more than `http.max_header_bytes`",
        _S.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ),
    _code("internal_error", "a fault of ours; the log has it under `x-correlation-id`", _S.INTERNAL_SERVER_ERROR),
    _code("database_unavailable", "the database is away; the message says what is known", _S.SERVICE_UNAVAILABLE),
    _code("database_busy", "somebody holds what this needs, and nothing was done", _S.SERVICE_UNAVAILABLE),
    _code("query_timeout", "the query took too long: ask for less", _S.SERVICE_UNAVAILABLE),
    _code("metrics_unavailable", "the figures could not be read in time", _S.SERVICE_UNAVAILABLE),
    _code("no_worker", "no worker is there to publish the event", _S.SERVICE_UNAVAILABLE),
    _code("not_ready", "a check fails: `failing` names it", _S.SERVICE_UNAVAILABLE),
    _code("not_live", "the supervisor does not go on", _S.SERVICE_UNAVAILABLE),
    _code("overloaded", "too many requests at once", _S.SERVICE_UNAVAILABLE),
    _code("too_many_connections", "too many connections at once", _S.SERVICE_UNAVAILABLE),
    _code("stopping", "the supervisor stopped meanwhile", _S.SERVICE_UNAVAILABLE),
    _code("publish_timeout", "the event was not committed in time, and may still be", _S.GATEWAY_TIMEOUT),
)
"""By status. An event that cannot be published may also have one of the reasons of its dead letter as its code."""
