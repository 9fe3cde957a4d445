"""The settings as rows of a table, for README and for `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from tasker_actors.settings.layers import sections, variable_name
from tasker_actors.settings.sections import Settings


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting: dotted key, environment variable, default in words, description."""

    key: str
    variable: str
    default: str
    description: str


def settings_table() -> list[SettingRow]:
    """Return a row for each setting, in the order of the file."""
    rows: list[SettingRow] = []
    for name, field in Settings.model_fields.items():
        section = sections().get(name)
        if section is None:
            rows.append(_row(name, field))
        else:
            rows.extend(_row(f"{name}.{key}", inner) for key, inner in section.model_fields.items())
    return rows


def _row(key: str, field: FieldInfo) -> SettingRow:
    variable = variable_name(key) if key != "actors" else "TASKER_ACTORS__NAME"
    return SettingRow(key, variable, _default(key, field), field.description or "")


def _default(key: str, field: FieldInfo) -> str:
    if key == "worker.count":
        return "number of CPUs"
    default: Any = field.get_default(call_default_factory=True, validated_data={})
    match default:
        case None | () | {}:
            return "none"
        case bool():
            return str(default).lower()
        case _:
            return str(default)
