"""What bodies and queries of requests are read into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tasker_actors.errors import RequestFault
from tasker_actors.events.json_faults import json_pointer
from tasker_actors.identifiers import is_uuid
from tasker_actors.workflow.nearest import hint

MAX_FAULTS = 100
"""Most faults that one refusal names."""

_UNKNOWN_KEY = "unknown_key"
_SHOWN_KEY = 80
_MOMENT_RE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:")


class ApiModel(BaseModel):
    """A mapping of which every key is known; the first unknown one is a fault that names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = cls.model_fields
            unknown = next((str(key) for key in data if key not in known), None)
            if unknown is not None:
                text = f"there is no key {unknown[:_SHOWN_KEY]!a}{hint(unknown, known)}"
                # The message is a template of pydantic's, in which braces have a meaning: the text is its value.
                raise PydanticCustomError(_UNKNOWN_KEY, "{text}", {"key": unknown, "text": text})
        return data


class BodyModel(ApiModel):
    """The same for JSON, in which a number is no text and a text no number."""

    model_config = ConfigDict(strict=True)


def request_faults(errors: Iterable[Mapping[str, Any]], *, skip: int = 0) -> list[RequestFault]:
    """Turn pydantic's errors into path and message, at most 100; `skip` leaves out the first parts of each place."""
    return [
        RequestFault(json_pointer(_place(error)[skip:]), error["msg"].removeprefix("Value error, "))
        for error in islice(errors, MAX_FAULTS)
    ]


def _place(error: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Return where an error is; an unknown key is found by the mapping that has it."""
    place: tuple[str | int, ...] = error["loc"]
    return (*place, error["ctx"]["key"]) if error["type"] == _UNKNOWN_KEY else place


def _uuid(text: str) -> str:
    if not is_uuid(text):
        msg = "must be a UUID, such as 0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
        raise ValueError(msg)
    return text.lower()


def _no_nul(text: str) -> str:
    # In a body NUL is refused for every text, before its model is made; a query can have it as %00.
    if "\0" in text:
        msg = "must not have a NUL character"
        raise ValueError(msg)
    return text


def _moment(value: Any) -> Any:
    # Pydantic would also take a number, of seconds or milliseconds as it sees fit.
    if value is not None and not (isinstance(value, str) and _MOMENT_RE.match(value)):
        msg = "must be a date and time with its offset, such as 2025-12-01T10:30:00Z"
        raise ValueError(msg)
    return value


def _whole(value: Any) -> Any:
    # JSON has one kind of number: 5.0 is an integer (JSON Schema, section 4.2.3), and some clients write it so.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Uuid = Annotated[str, AfterValidator(_uuid), Field(json_schema_extra={"format": "uuid"})]
"""A UUID of any version in its 36-character form, read into lower case."""

WITHOUT_NUL = {"pattern": "^[^\\u0000]*$"}
"""What OpenAPI says of a text that PostgreSQL has to store."""

Text = Annotated[str, Field(min_length=1, max_length=255, json_schema_extra={**WITHOUT_NUL}), AfterValidator(_no_nul)]
"""A name or a short text."""

Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
"""A date and time with its offset from UTC (RFC 3339)."""

MomentInBody = Annotated[Moment, Field(strict=False)]
"""The same in a body, where it is a text."""

WHOLE = BeforeValidator(_whole)
"""Beside the bounds of an integer in a body."""
