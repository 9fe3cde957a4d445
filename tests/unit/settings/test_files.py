"""The files in config/, and the table of settings that README shows."""

import tomllib
from pathlib import Path

from tasker_actors.settings import Settings, load_settings, settings_table

CONFIG = Path(__file__).parents[3] / "config"


def test_the_default_file_repeats_the_defaults_and_misses_none():
    file = CONFIG / "default.toml"
    assert load_settings(file, environ={}) == load_settings(environ={})
    text = file.read_text(encoding="utf-8")
    given = tomllib.loads(text)
    for row in settings_table():
        section, _, key = row.key.rpartition(".")
        if key not in (given.get(section, {}) if section else given):
            assert f"\n# {key} = " in text, f"{row.key} is neither in the file nor explained there"


def test_the_test_file_loads_and_keeps_the_port_free():
    settings = load_settings(CONFIG / "test.toml", environ={})
    assert settings.environment == "test"
    assert settings.http.port == 0


def test_the_table_has_a_row_with_a_sentence_for_each_setting():
    rows = settings_table()
    keys = [row.key for row in rows]
    assert len(set(keys)) == len(keys)
    for section, value in Settings().model_dump().items():
        names = [f"{section}.{key}" for key in value] if isinstance(value, dict) and section != "actors" else [section]
        assert set(names) <= set(keys)
    assert all(row.description.endswith(".") or row.description.endswith("`.") for row in rows)
    assert all(row.default for row in rows)


def test_every_setting_is_read_somewhere():
    """One that is read nowhere would bound nothing, and say that it does."""
    package = CONFIG.parent / "tasker_actors"
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in package.rglob("*.py") if path.parent != package / "settings"
    )
    assert [row.key for row in settings_table() if f".{row.key.rpartition('.')[2]}" not in code] == []


def test_the_variable_of_each_row_sets_its_key():
    examples = {"database.url": "postgresql://h/d", "http.bind": "127.0.0.1:1", "home": "/x", "http.api_key": "k"}
    examples["native.subscribers"] = '[{"library": "a.so", "symbol": "b", "patterns": ["*"]}]'
    for row in settings_table():
        if row.key == "actors":
            continue
        value = examples.get(row.key, {"true": "false", "false": "true", "none": "1"}.get(row.default, row.default))
        value = "3" if row.key == "worker.count" else value
        settings = load_settings(environ={row.variable: value})
        section, _, key = row.key.rpartition(".")
        assert getattr(getattr(settings, section) if section else settings, key) is not None
