"""Where a setting's value comes from, and what a wrong one is told."""

import json
from pathlib import Path

import pytest

from tasker_actors.errors import ConfigurationError
from tasker_actors.settings import (
    Settings,
    load_settings,
    masked,
    require_key_when_exposed,
    settings_from_json,
    settings_to_json,
)


@pytest.fixture
def config(tmp_path):
    """Write a configuration file and return its path."""

    def write(text):
        path = tmp_path / "tasker.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(**arguments):
    """Return the lines of the error that loading ends with."""
    arguments.setdefault("environ", {})
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**arguments)
    return str(caught.value).splitlines()


def test_without_any_source_every_default_holds():
    settings = load_settings(environ={})
    assert settings == Settings()
    assert settings.worker.concurrency == 8
    assert settings.worker.count >= 1
    assert settings.http.bind == "127.0.0.1:8081"
    assert settings.supervisor.drain_timeout_ms == 25_000
    assert settings.retention.finished_tasks_days is None


def test_each_source_wins_over_those_before_it(config):
    file = config("[worker]\ncount = 2\nconcurrency = 2\nprefetch = 2\n")
    environ = {"TASKER_WORKER__CONCURRENCY": "3", "TASKER_WORKER__PREFETCH": "3"}
    worker = load_settings(file, {"worker.prefetch": 4}, environ).worker
    assert (worker.count, worker.concurrency, worker.prefetch) == (2, 3, 4)


def test_an_option_that_was_not_given_changes_nothing():
    assert load_settings(None, {"worker.count": None}, {"TASKER_WORKER__COUNT": "7"}).worker.count == 7


def test_variables_with_names_of_their_own():
    environ = {
        "TASKER_ENV": "staging",
        "TASKER_HOME": "/srv/tasker",
        "TASKER_API_KEY": "k",
        "DATABASE_URL": "postgresql://u:p@h/d",
        "PATH": "/bin",
    }
    settings = load_settings(environ=environ)
    assert settings.environment == "staging"
    assert settings.home == Path("/srv/tasker")
    assert settings.http.api_key == "k"
    assert settings.database.url == "postgresql://u:p@h/d"


@pytest.mark.parametrize("variable", ["TASKER_ENV", "DATABASE_URL", "TASKER_API_KEY"])
def test_an_empty_variable_is_not_set(variable):
    assert load_settings(environ={variable: ""}) == load_settings(environ={})


def test_the_closer_variable_wins_over_the_general_one():
    environ = {"DATABASE_URL": "postgresql://general/d", "TASKER_DATABASE__URL": "postgresql://closer/d"}
    assert load_settings(environ=environ).database.url == "postgresql://closer/d"


def test_an_empty_variable_takes_back_what_the_file_gave(config):
    file = config("[retention]\nattempts_days = 3\n")
    assert load_settings(file, environ={"TASKER_RETENTION__ATTEMPTS_DAYS": ""}).retention.attempts_days is None


def test_lists_come_as_text_from_the_environment_and_as_arrays_from_the_file(config):
    file = config('[templates]\ndirectories = ["a", "b"]\n')
    assert load_settings(file, environ={}).templates.directories == (Path("a"), Path("b"))
    environ = {"TASKER_TEMPLATES__DIRECTORIES": "c, d", "TASKER_HANDLERS__MODULES": "m.one"}
    settings = load_settings(file, environ=environ)
    assert settings.templates.directories == (Path("c"), Path("d"))
    assert settings.handlers.modules == ("m.one",)


def test_actors_of_ones_own_are_joined_name_by_name(config):
    file = config('[actors]\naudit = "my.module:Audit"\nmail = "my.module:Mail"\n')
    settings = load_settings(file, environ={"TASKER_ACTORS__MAIL": "other:Mail"})
    assert settings.actors == {"audit": "my.module:Audit", "mail": "other:Mail"}
    assert refusal(config_file=config('[actors]\naudit = "nonsense"\n'))[0].startswith("actors")


def test_memory_for_counters_has_room_for_what_a_worker_may_hold_or_both_settings_are_named():
    few = {"TASKER_TELEMETRY__MAX_COUNTER_BYTES": str(2 * 1024 * 1024)}
    assert load_settings(environ=few).telemetry.max_counter_bytes == 2 * 1024 * 1024
    (line,) = refusal(environ={**few, "TASKER_WORKER__CONCURRENCY": "100000"})
    assert line == (
        "telemetry.max_counter_bytes (2097152) must be 4252672 at least, for worker.concurrency (100000) and "
        "worker.prefetch (256)"
    )
    assert "multiple of 4096" in refusal(environ={"TASKER_TELEMETRY__MAX_COUNTER_BYTES": "1048577"})[0]


@pytest.mark.parametrize(("environment", "strict"), [("production", True), ("development", False), ("test", False)])
def test_templates_are_strict_by_default_in_production(environment, strict):
    assert load_settings(environ={"TASKER_ENV": environment}).templates.strict is strict
    relaxed = {"TASKER_ENV": environment, "TASKER_TEMPLATES__STRICT": "false"}
    assert load_settings(environ=relaxed).templates.strict is False


def test_every_fault_of_every_source_is_told_with_key_source_and_nearest_key(config):
    file = config("nothing = 1\nworker = 3\n[commit]\nmax_bach = 1\n[comit]\nx = 1\n[http]\nbind = 'x'\n")
    lines = refusal(
        config_file=file,
        environ={"TASKER_WORKER_COUNT": "4", "TASKER_WORKER__COUNT": "many"},
        overrides={"worker.cont": 1},
    )
    assert f"{file}: worker is a section: write [worker] and its keys below" in lines
    assert f"{file}: unknown key commit.max_bach; did you mean commit.max_batch?" in lines
    assert f"{file}: unknown section or key comit; did you mean commit?" in lines
    assert any(line.startswith(f"{file}: unknown section or key nothing") for line in lines)
    assert any("TASKER_WORKER_COUNT: there is no such setting; did you mean TASKER_WORKER__COUNT?" in x for x in lines)
    assert "option: unknown key worker.cont; did you mean worker.count?" in lines
    assert any(line.startswith("worker.count (environment variable TASKER_WORKER__COUNT): ") for line in lines)
    assert any(line.startswith(f"http.bind ({file}): must be HOST:PORT") for line in lines)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("worker.count", 0),
        ("worker.count", True),
        ("worker.count", 1.5),
        ("worker.lease_ms", -1),
        ("worker.lease_ms", 10**12),
        ("logging.event_sample_rate", 1.1),
        ("logging.event_sample_rate", float("nan")),
        ("retention.attempts_days", 0),
        ("http.bind", "127.0.0.1:65536"),
        ("http.bind", "::1:8081"),
        ("http.bind", "8081"),
        ("http.api_key", ""),
        ("database.url", "mysql://h/d"),
        ("environment", "no spaces"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(key, value):
    assert refusal(overrides={key: value})[0].startswith(f"{key} (option): ")


@pytest.mark.parametrize(
    "overrides",
    [
        {"worker.heartbeat_interval_ms": 20_000},
        {"worker.restart_backoff_ms": 60_000},
        {"worker.lease_ms": 14_999},
        {"worker.hang_timeout_ms": 20_001},
        {"database.reconnect_backoff_ms": 60_000},
    ],
)
def test_two_settings_that_contradict_each_other_are_refused_together(overrides):
    (line,) = refusal(overrides=overrides)
    (key,) = overrides
    assert line.startswith(key.partition(".")[0])
    assert key.partition(".")[2] in line


def test_a_secret_is_in_no_error():
    lines = refusal(environ={"DATABASE_URL": "s3cret-is-no-url", "TASKER_HTTP__API_KEY": ""}, overrides={"home": 1})
    assert "s3cret" not in "\n".join(lines)


def test_the_variable_of_the_commands_is_no_setting():
    assert load_settings(environ={"TASKER_URL": "http://127.0.0.1:9"}) == Settings()


@pytest.mark.parametrize("name", ["TASKER_SERVICE_HOST", "TASKER_PORT", "TASKER_PORT_8081_TCP_ADDR"])
def test_the_service_links_of_kubernetes_are_no_settings(name):
    assert load_settings(environ={name: "tcp://10.0.0.1:8081"}) == Settings()


@pytest.mark.parametrize(
    ("content", "reason"), [(b"[worker", "not valid TOML"), (b"\xff", "not valid TOML"), (None, "No such file")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, reason):
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)
    (line,) = refusal(config_file=path)
    assert line.startswith(f"configuration file {path}: ")
    assert reason in line


def test_the_configuration_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_settings(environ={}).worker.count = 3


def test_a_worker_process_reads_what_its_parent_wrote():
    environ = {"DATABASE_URL": "postgresql://u:p@h/d", "TASKER_API_KEY": "k", "TASKER_ACTORS__A": "m:C"}
    settings = load_settings(environ=environ)
    assert settings_from_json(settings_to_json(settings)) == settings
    with pytest.raises(ConfigurationError):
        settings_from_json('{"worker": {"count": 0}}')


def test_secrets_are_masked_and_nothing_else():
    settings = load_settings(environ={"DATABASE_URL": "postgresql://u:s3cret@h/d", "TASKER_API_KEY": "s3cret"})
    shown = masked(settings)
    assert "s3cret" not in json.dumps(shown) + repr(settings)
    assert shown["database"]["url"] == "postgresql://u:***@h/d"
    assert shown["worker"] == settings.worker.model_dump(mode="json")
    assert masked(load_settings(environ={}))["database"]["url"] is None


@pytest.mark.parametrize(
    ("bind", "host", "port", "loopback"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0, True),
        ("127.9.9.9:80", "127.9.9.9", 80, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:8081", "::1", 8081, True),
        ("0.0.0.0:8081", "0.0.0.0", 8081, False),
        ("[::]:8081", "::", 8081, False),
        ("example.org:8081", "example.org", 8081, False),
    ],
)
def test_beyond_loopback_a_key_is_needed(bind, host, port, loopback):
    settings = load_settings(None, {"http.bind": bind}, {})
    assert (settings.http.host, settings.http.port, settings.http.is_loopback) == (host, port, loopback)
    if loopback:
        require_key_when_exposed(settings)
    else:
        with pytest.raises(ConfigurationError, match="TASKER_API_KEY"):
            require_key_when_exposed(settings)
        require_key_when_exposed(load_settings(None, {"http.bind": bind, "http.api_key": "k"}, {}))


def test_the_address_that_commands_use_is_no_setting():
    assert load_settings(environ={"TASKER_URL": "http://127.0.0.1:9"}) == load_settings(environ={})


def test_native_subscribers_are_tables_in_a_file_and_json_in_a_variable(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text(
        '[native]\ndirectory = "/srv/native"\n'
        'subscribers = [{ library = "a.so", symbol = "b", patterns = ["flight.*", "#"] }]\n'
    )
    from_file = load_settings(file, environ={}).native
    table = '[{"library": "a.so", "symbol": "b", "patterns": ["flight.*", "#"]}]'
    from_variable = load_settings(environ={"TASKER_NATIVE__SUBSCRIBERS": table}).native

    assert str(from_file.directory) == "/srv/native"
    assert from_file.subscribers == from_variable.subscribers
    (one,) = from_file.subscribers
    assert (one.library, one.symbol, one.patterns) == ("a.so", "b", ("flight.*", "#"))
    again = settings_from_json(settings_to_json(load_settings(file, environ={})))
    assert again.native == from_file


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[", "must be JSON"),
        ('[{"library": "a.so", "symbol": "b"}]', "native.subscribers.*Field required"),
        ('[{"library": "a.so", "symbol": "b", "patterns": []}]', "at least 1 item"),
        ('[{"library": "a.so", "symbol": "b", "patterns": ["*"], "more": 1}]', "Extra inputs"),
        ('[{"library": "", "symbol": "b", "patterns": ["*"]}]', "no path of a shared library"),
        ('[{"library": "a.so", "symbol": "b()", "patterns": ["*"]}]', "no name of a C function"),
        ('[{"library": "a.so", "symbol": "tasker_free", "patterns": ["*"]}]', "belong to the interface"),
    ],
)
def test_a_native_subscriber_that_cannot_be_meant_is_refused(value, said):
    with pytest.raises(ConfigurationError, match=said):
        load_settings(environ={"TASKER_NATIVE__SUBSCRIBERS": value})


def test_a_configuration_file_that_never_ends_is_refused():
    with pytest.raises(ConfigurationError, match="configuration file /dev/zero: larger than 1048576 bytes"):
        load_settings(Path("/dev/zero"), environ={})
