"""Importing this makes `import tasker_core` work, with all its submodules, in this process.

Name it before the modules that need it: `tasker-actors run --handlers tasker_actors.compat.alias --handlers orders`.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator

from tasker_actors import compat
from tasker_actors.compat.handler import registered_handlers
from tasker_actors.errors import StartupError

NAME = "tasker_core"

SAME = {
    "batch_processing.batchable": "batch_processing",
    "registry.base_resolver": "registry",
    "registry.handler_definition": "registry",
    "registry.method_dispatch_wrapper": "registry",
    "registry.registry_resolver": "registry",
    "registry.resolver_chain": "registry",
    "registry.resolvers": "registry",
    "registry.resolvers.class_lookup": "registry",
    "registry.resolvers.explicit_mapping": "registry",
    "step_handler.api": "step_handler",
    "step_handler.base": "step_handler",
    "step_handler.decision": "step_handler",
    "step_handler.mixins.api": "step_handler.mixins",
    "step_handler.mixins.decision": "step_handler.mixins",
}
"""tasker-py's innermost modules, and the module here that has what is in them."""

# The workers find it here, as any resolver of a handler module: it asks what modules registered by hand.
REGISTERED = registered_handlers()


def install() -> None:
    """Let every module of `tasker_actors.compat` be the one that tasker-py has under that name.

    StartupError where another `tasker_core` was imported before: two kits in one process would not know each other's
    classes.
    """
    present = sys.modules.get(NAME)
    if present is compat:
        return
    if present is not None:
        where = getattr(present, "__file__", None) or "somewhere"
        msg = f"tasker_core was imported from {where} before; name tasker_actors.compat.alias first"
        raise StartupError(msg)
    for name in _names():
        sys.modules[f"{NAME}{name}"] = importlib.import_module(f"{compat.__name__}{name}")
    for name, same in SAME.items():
        sys.modules[f"{NAME}.{name}"] = sys.modules[f"{NAME}.{same}"]


def _names() -> Iterator[str]:
    yield ""
    for module in pkgutil.walk_packages(compat.__path__, f"{compat.__name__}."):
        if module.name != __name__:
            yield module.name.removeprefix(compat.__name__)


install()
