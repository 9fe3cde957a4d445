"""What happened, and where: trace context, tracing, metrics and logging; importing this file loads none of them.

For programs that use the package as a library: `telemetry.init_console_only()`, load native code,
`telemetry.init_tracing()`, and `telemetry.shut_down()` at the end (SPEC 4.1).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasker_actors.telemetry.logging import init_console_only
    from tasker_actors.telemetry.phases import init_tracing, shut_down

__all__ = ["init_console_only", "init_tracing", "shut_down"]

_PLACES = {"init_console_only": "logging", "init_tracing": "phases", "shut_down": "phases"}


def __getattr__(name: str) -> Any:
    """Load a function when it is first asked for: rules and values import this package too, and stay free of it all."""
    if name not in _PLACES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
