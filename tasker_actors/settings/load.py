"""The configuration from its sources: defaults, file, environment, options; a later one wins (SPEC 7)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasker_actors.errors import ConfigurationError
from tasker_actors.settings.database_url import MASK, redact_url
from tasker_actors.settings.layers import Given, environment_layer, file_layer, override_layer, printable
from tasker_actors.settings.sections import Settings
from tasker_actors.telemetry.redaction import redact

_SECRETS = frozenset({"database.url", "http.api_key"})
_PRODUCTION = "production"
_SHOWN_VALUE = 80


def load_settings(
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the configuration; raises ConfigurationError that lists every fault with its key and source.

    `overrides` has dotted keys (`worker.count`), None for an option that was not given. `environ` defaults to the
    environment of the process. The only file read is `config_file`.
    """
    layers = [
        *([file_layer(config_file)] if config_file is not None else []),
        environment_layer(os.environ if environ is None else environ),
        override_layer(overrides or {}),
    ]
    given: dict[str, Given] = {}
    for layer in layers:
        given.update(layer.values)
    faults = [fault for layer in layers for fault in layer.faults]
    try:
        settings = Settings.model_validate(_nested(given))
    except ValidationError as error:
        faults.extend(_faults(error, given))
    if faults:
        raise ConfigurationError("\n".join(faults))
    return settings


def settings_from_json(text: str | bytes) -> Settings:
    """Return the configuration that `settings_to_json` wrote; raises ConfigurationError for anything else."""
    try:
        return Settings.model_validate_json(text)
    except ValidationError as error:
        msg = f"the configuration passed to this process cannot be read: {error}"
        raise ConfigurationError(msg) from error


def settings_to_json(settings: Settings) -> str:
    """Return the configuration with its secrets, for a process of our own over a private descriptor."""
    return settings.model_dump_json()


def masked(settings: Settings) -> dict[str, Any]:
    """Return the configuration as JSON values with every secret masked, fit to be shown."""
    shown = settings.model_dump(mode="json")
    if settings.database.url is not None:
        shown["database"]["url"] = redact_url(settings.database.url)
    if settings.http.api_key is not None:
        shown["http"]["api_key"] = MASK
    return shown


def require_key_when_exposed(settings: Settings) -> None:
    """Raise ConfigurationError if the port can be reached from other machines and no API key is set (SPEC 8)."""
    if not settings.http.is_loopback and settings.http.api_key is None:
        msg = (
            f"http.bind: {settings.http.bind} can be reached from other machines: "
            "set TASKER_API_KEY, or bind to 127.0.0.1"
        )
        raise ConfigurationError(msg)


def _nested(given: Mapping[str, Given]) -> dict[str, Any]:
    """Return what `Settings` is validated from, with the one default that depends on another value."""
    nested: dict[str, Any] = {}
    for key, item in given.items():
        section, dot, name = key.partition(".")
        if dot:
            nested.setdefault(section, {})[name] = item.value
        else:
            nested[key] = item.value
    if nested.get("environment") == _PRODUCTION:
        nested.setdefault("templates", {}).setdefault("strict", True)
    return nested


def _faults(error: ValidationError, given: Mapping[str, Given]) -> list[str]:
    faults = []
    for detail in error.errors(include_url=False, include_context=False):
        key, item = _culprit(detail["loc"], given)
        message = detail["msg"].removeprefix("Value error, ")
        if not key:  # a rule over several sections says itself which keys it is about
            faults.append(message)
        elif item is None:
            faults.append(f"{key}: {message}")
        elif key in _SECRETS:
            faults.append(f"{key} ({item.source}): {message}")
        else:
            faults.append(f"{key} ({item.source}): {message}, not {_shown(item.value)}")
    return faults


def _culprit(location: tuple[int | str, ...], given: Mapping[str, Given]) -> tuple[str, Given | None]:
    """Return the given key that a validation error is about; a rule over two keys names its section."""
    parts = [str(part) for part in location]
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        if key in given:
            return printable(key), given[key]
    return printable(".".join(parts)), None


def _shown(value: Any) -> str:
    text = redact(repr(value))  # it may be a database URL in another setting than its own
    return text if len(text) <= _SHOWN_VALUE else text[:_SHOWN_VALUE] + "…"
