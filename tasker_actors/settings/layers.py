"""Where values come from: a file, environment variables, options. Each layer is read into dotted keys with a source.

A layer only finds values and refuses keys that do not exist; `load.py` puts layers together and validates them.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasker_actors.errors import ConfigurationError
from tasker_actors.settings.section import Section
from tasker_actors.settings.sections import Settings

ENVIRONMENT_PREFIX = "TASKER_"
# Names of their own, for values that every tool of the field reads under these names.
NAMED_VARIABLES = {
    "TASKER_ENV": "environment",
    "TASKER_HOME": "home",
    "TASKER_API_KEY": "http.api_key",
    "DATABASE_URL": "database.url",
}
# Where the commands find a supervisor; no setting of the supervisor itself.
CLIENT_VARIABLE = "TASKER_URL"
_MAX_FILE_BYTES = 1024 * 1024
# Kubernetes sets TASKER_PORT, TASKER_SERVICE_HOST and the like in every pod beside a service named tasker.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?)$")


@dataclass(frozen=True, slots=True)
class Given:
    """A value that a layer gives for a key, and where it stands, in words for an error."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one source, by dotted key, and what is wrong with its keys."""

    values: Mapping[str, Given]
    faults: tuple[str, ...] = ()


def sections() -> dict[str, type[Section]]:
    """Return the section classes by name, in the order of the file."""
    found = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Section)}


def known_keys() -> tuple[str, ...]:
    """Return every dotted key there is; `actors` stands for the names below it, which are the user's own."""
    keys: list[str] = []
    for name in Settings.model_fields:
        section = sections().get(name)
        keys.extend(f"{name}.{key}" for key in section.model_fields) if section else keys.append(name)
    return tuple(keys)


def variable_name(key: str) -> str:
    """Return the environment variable that sets a key."""
    for variable, named in NAMED_VARIABLES.items():
        if named == key:
            return variable
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def printable(name: str) -> str:
    """Return a name as an error shows it: one with line breaks or control characters is quoted and escaped."""
    return name if name.isprintable() else ascii(name)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the known name that is most like this one, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {match[0]}?" if match else ""


def file_layer(path: Path) -> Layer:
    """Read a TOML file; raises ConfigurationError if it cannot be read at all."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
        if len(text) > _MAX_FILE_BYTES:
            msg = f"configuration file {path}: larger than {_MAX_FILE_BYTES} bytes"
            raise ConfigurationError(msg)
        content = tomllib.loads(text.decode())
    except OSError as error:
        msg = f"configuration file {path}: {error.strerror}"
        raise ConfigurationError(msg) from error
    except (ValueError, RecursionError) as error:  # also of a path with NUL, a text that is no UTF-8, a year 0
        msg = f"configuration file {path}: not valid TOML: {error}"
        raise ConfigurationError(msg) from error
    return _nested_layer(content, str(path))


def _nested_layer(content: Mapping[str, Any], source: str) -> Layer:
    known = known_keys()
    values: dict[str, Given] = {}
    faults: list[str] = []
    for name, value in content.items():
        if name == "actors" and isinstance(value, Mapping):
            values.update({f"actors.{actor}": Given(path, source) for actor, path in value.items()})
        elif name == "actors":
            faults.append(f"{source}: actors is a section: write [actors] and the names of your actors below")
        elif name in known:
            values[name] = Given(value, source)
        elif name not in sections():
            faults.append(f"{source}: unknown section or key {printable(name)}{nearest(name, (*sections(), *known))}")
        elif not isinstance(value, Mapping):
            faults.append(f"{source}: {name} is a section: write [{name}] and its keys below")
        else:
            for key, inner in value.items():
                dotted = f"{name}.{key}"
                if dotted in known:
                    values[dotted] = Given(inner, source)
                else:
                    faults.append(f"{source}: unknown key {printable(dotted)}{nearest(dotted, known)}")
    return Layer(values, tuple(faults))


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Read `TASKER_SECTION__KEY` and the variables with names of their own.

    An empty value means none: it takes back what a file gave for an optional key, and for a variable with a name of
    its own it is the same as not set. `TASKER_DATABASE__URL` wins over `DATABASE_URL`, and so on, being the closer one.
    """
    known = known_keys()
    values: dict[str, Given] = {
        key: Given(environ[variable], f"environment variable {variable}")
        for variable, key in NAMED_VARIABLES.items()
        if environ.get(variable)
    }
    faults: list[str] = []
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in (*NAMED_VARIABLES, CLIENT_VARIABLE):
            continue
        key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        source = f"environment variable {printable(variable)}"
        if key in known and "." in key:
            values[key] = Given(environ[variable] or None, source)
        elif key.startswith("actors."):
            values[key] = Given(environ[variable], source)
        elif not _SERVICE_LINK.search(variable):
            names = [variable_name(name) for name in known]
            faults.append(f"{source}: there is no such setting{nearest(variable, names)}")
    return Layer(values, tuple(faults))


def override_layer(overrides: Mapping[str, Any]) -> Layer:
    """Read explicit values by dotted key; one that is None was not given."""
    known = known_keys()
    given = {key: Given(value, "option") for key, value in overrides.items() if value is not None}
    faults = [f"option: unknown key {printable(key)}{nearest(key, known)}" for key in given if key not in known]
    return Layer({key: value for key, value in given.items() if key in known}, tuple(faults))
