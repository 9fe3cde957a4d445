"""Whatever a file, the environment and the options say: a configuration, or an error that says where and what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasker_actors.errors import ConfigurationError
from tasker_actors.settings import load_settings, masked
from tasker_actors.settings.layers import known_keys, variable_name
from tasker_actors.settings.load import settings_from_json, settings_to_json
from tasker_actors.telemetry.config import TelemetryConfig

KEYS = known_keys()
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
SECRETS = ["postgresql://u:secret@h/d", "host=h password=secret"]
NUMBERS = ["0", "1", "-1", "1e9", "nan", "inf", "9" * 5000]
SIGNS = [
    "",
    "true",
    "null",
    "[]",
    "{}",
    "[[",
    "a,b",
    "[" * 5000,
    "127.0.0.1:8081",
    "[::1]:0",
    "0.0.0.0:1",
    "production",
]
words = st.sampled_from([*NUMBERS, *SIGNS, *SECRETS]) | texts
variables = st.dictionaries(
    st.sampled_from([variable_name(key) for key in KEYS])
    | st.sampled_from(["TASKER_ACTORS__A", "TASKER_ACTORS__", "TASKER__", "TASKER_WORKER", "TASKER_WORKER__"])
    | texts.map(lambda text: f"TASKER_{text}".replace("=", "")),
    words,
    max_size=4,
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)
overrides = st.dictionaries(st.sampled_from(KEYS) | texts, anything, max_size=3)

# TOML, from lines that mean something and lines that nearly do.
names = st.sampled_from([part for key in KEYS for part in key.split(".")] + ["actors", "a.b", '"a"', "nothing"])
values = st.sampled_from(
    ["1", "-1", "1.5", "nan", "true", '"a"', "[]", "[1, 'a']", "{}", "{a = 1}", "2025-12-01", "1e400", "0x10", "["]
)
lines = st.one_of(
    st.builds("[{}]".format, names),
    st.builds("[[{}]]".format, names),
    st.builds("{} = {}".format, names, values),
    texts,
)


def check(config_file: Path | None, given_overrides: dict[str, Any], environ: dict[str, str]) -> None:
    try:
        settings = load_settings(config_file, given_overrides, environ)
    except ConfigurationError as error:
        message = str(error)
    else:
        message = ""
        assert settings_from_json(settings_to_json(settings)) == settings
        assert "secret" not in str(masked(settings)["database"])
    assert "secret" not in message
    assert all(": " in line for line in message.splitlines()), "a line that names no place"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "settings.toml"


@given(content=st.lists(lines, max_size=6).map("\n".join), environ=variables)
@example(content="actors = 1", environ={"TASKER_ACTORS__A": "b"})
@example(content="a = " + "[" * 5000, environ={})
def test_any_file_beside_any_environment(file: Path, content: str, environ: dict[str, str]) -> None:
    file.write_text(content, encoding="utf-8")
    check(file, {}, environ)


@given(content=st.binary(max_size=40))
def test_any_bytes_as_a_file(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check(file, {}, {})


@given(environ=variables, given_overrides=overrides)
def test_any_options_beside_any_environment(environ: dict[str, str], given_overrides: dict[str, Any]) -> None:
    check(None, given_overrides, environ)


TELEMETRY = ["TELEMETRY_ENABLED", "LOG_LEVEL", "LOG_FORMAT", "TASKER_ENV", "DEPLOYMENT_ENVIRONMENT"] + [
    f"OTEL_{name}"
    for name in (
        "EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_PROTOCOL", "EXPORTER_OTLP_HEADERS", "EXPORTER_OTLP_TIMEOUT",
        "EXPORTER_OTLP_CERTIFICATE", "SERVICE_NAME", "SERVICE_VERSION", "TRACES_SAMPLER_ARG", "LOGS_ENABLED",
        "RESOURCE_ATTRIBUTES", "BSP_SCHEDULE_DELAY", "BSP_MAX_QUEUE_SIZE", "METRIC_EXPORT_INTERVAL", "SDK_DISABLED",
    )
]  # fmt: skip
urls = st.sampled_from(["http://", "http://[::1", "https://h:99999", "http://h:a", "http://u:p@h", "//h", "http://h:0"])


@given(
    environ=st.dictionaries(
        st.sampled_from(TELEMETRY), words | urls | st.sampled_from(["a=b", "a=%ff", "=", "²", "a=b,"]), max_size=5
    )
)
def test_any_environment_of_telemetry(environ: dict[str, str]) -> None:
    try:
        TelemetryConfig.from_environ(environ)
        message = ""
    except ConfigurationError as error:
        message = str(error)
    assert "secret" not in message
    assert all(line.startswith(tuple(environ)) for line in message.splitlines())
