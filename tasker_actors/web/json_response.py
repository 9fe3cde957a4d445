"""JSON answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from starlette.responses import Response

from tasker_actors.events.timestamp import timestamp


class JsonResponse(Response):
    """An answer written by orjson; datetimes come out as in events, in UTC with six digits."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write the content; TypeError for what is no JSON is a fault of ours."""
        return orjson.dumps(content, default=_json_type, option=orjson.OPT_PASSTHROUGH_DATETIME)


def raw_json(text: str | None) -> orjson.Fragment | None:
    """Put JSON text of the database into an answer as it is, so that no number changes."""
    return None if text is None else orjson.Fragment(text)


def _json_type(value: Any) -> str:
    if isinstance(value, datetime):
        return timestamp(value)
    msg = f"{type(value).__name__} is no JSON value"
    raise TypeError(msg)
