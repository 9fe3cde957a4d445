"""Query parameters that an endpoint does not have."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request

from tasker_actors.web.errors import ApiError
from tasker_actors.web.security import is_open


async def refuse_parameters(request: Request) -> None:
    """Raise ApiError 422 for a query where an endpoint takes none; those that take some refuse others themselves.

    Probes and scrapes are let through: what asks for them may add whatever it likes.
    """
    takes_some = request.scope["route"].dependant.query_params
    if takes_some or not request.query_params or is_open(request.url.path):
        return
    name = next(iter(request.query_params))
    faults = [{"path": name, "message": "there is no such parameter"}]
    message = f"a parameter cannot be used: {request.url.path} takes none, and not {name[:80]!a}"
    raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", message, faults=faults)
