"""Ids in the paths of `/v1/tasks`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Path

from tasker_actors.identifiers import is_uuid
from tasker_actors.web.errors import ApiError

PathUuid = Annotated[str, Path(json_schema_extra={"format": "uuid"})]
"""An id in a path as it came; `path_uuid` reads it."""


def unknown_task(task_uuid: str) -> ApiError:
    """Say that there is no such task."""
    return ApiError(HTTPStatus.NOT_FOUND, "unknown_task", f"there is no task {task_uuid}")


def path_uuid(text: str) -> str:
    """Read an id in a path; raises ApiError 400."""
    if not is_uuid(text):
        message = f"{text!r} in the path is no UUID"
        raise ApiError(HTTPStatus.BAD_REQUEST, "bad_path", message)
    return text.lower()
