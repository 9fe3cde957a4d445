"""Handlers that do nothing, so that what is measured is the runtime."""

from tasker_actors import step_handler


@step_handler("bench.nothing")
def nothing(context):
    return {"done": True}
