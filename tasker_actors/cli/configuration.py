"""Options of a command become settings here; everything else about settings is in `tasker_actors.settings`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasker_actors.settings import Settings


def read_settings(config_file: Path | None, options: Mapping[str, Any]) -> Settings:
    """Return the settings; `options` has dotted keys, and wins over everything else where its value is not None.

    Raises ConfigurationError with every fault.
    """
    from tasker_actors.settings import load_settings  # noqa: PLC0415  pydantic costs 100 ms, which --help need not wait for

    return load_settings(config_file, options)
