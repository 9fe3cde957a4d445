"""The embedded server's life: started, shared, killed, taken over, stopped; as root and not; on awkward paths."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from pgmq import PGMQueue
from support.waiting import until

from tasker_actors.errors import DatabaseUnavailableError, StartupError
from tasker_actors.postgres.embedded import EmbeddedServer, programs, running_url
from tasker_actors.postgres.embedded.files import ServerFiles
from tasker_actors.postgres.embedded.process import postmaster_file, running_postmaster

TIMEOUT_MS = 60_000


@pytest.fixture
def home(tmp_path):
    """A home whose server is stopped at the end, whatever the test left of it."""
    yield tmp_path / "home"
    found = running_postmaster(ServerFiles.below(tmp_path / "home").data)
    if found is not None:
        process = psutil.Process(found.pid)
        process.send_signal(signal.SIGINT)
        psutil.wait_procs([process], timeout=20)


@pytest.fixture
def start(home):
    """Start uses of the home's server; each is stopped at the end."""
    servers = []

    def make(directory=home, timeout_ms=TIMEOUT_MS):
        servers.append(EmbeddedServer.start(directory, timeout_ms))
        return servers[-1]

    yield make
    for server in servers:
        server.stop(time.monotonic() + 20)


def soon():
    return time.monotonic() + 20


def postmaster_pid(home):
    found = running_postmaster(ServerFiles.below(home).data)
    return None if found is None else found.pid


def one(url, query):
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone()[0]


def refuses(url):
    try:
        one(url, "SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def child(code, *arguments):
    """Start code in a process of its own, which says `ready` on standard error and then waits for a line."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ready(*processes):
    """Wait until each process is ready, and return the first."""
    for process in processes:
        line = process.stderr.readline()
        assert line == "ready\n", line + process.communicate()[1]
    return processes[0]


def dead(home):
    """Kill the server as a lack of memory would, and wait until it is gone."""
    pid = postmaster_pid(home)
    os.kill(pid, signal.SIGKILL)
    until(lambda: postmaster_pid(home) is None)
    return pid


SUPERVISOR = """
import pathlib, sys, time
from tasker_actors.postgres.embedded import EmbeddedServer
server = EmbeddedServer.start(pathlib.Path(sys.argv[1]), 60_000)
print("ready", file=sys.stderr, flush=True)
sys.stdin.readline()
server.stop(time.monotonic() + 20)
"""


def test_it_starts_takes_every_client_and_stops(home, start):
    server = start()
    assert int(one(server.url, "SHOW server_version_num")) >= 180_000
    psql = [programs() / "psql", server.url, "-Atc", "SELECT current_database()"]
    assert subprocess.run(psql, check=True, capture_output=True, text=True).stdout == "tasker\n"
    client = PGMQueue(conn_string=server.url, init_extension=False, pool_size=1)
    client.close()
    assert running_url(home) == server.url
    assert server.stop(soon()) is True
    assert running_url(home) is None
    assert not postmaster_file(ServerFiles.below(home).data).exists()
    assert server.stop(soon()) is True


def test_what_was_committed_is_there_after_a_stop_and_after_a_kill(home, start):
    server = start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (x int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    server.stop(soon())
    server = start()
    dead(home)
    assert server.is_running() is False
    url = server.url
    server.ensure_running(TIMEOUT_MS)
    assert server.url == url
    assert one(server.url, "SELECT x FROM kept") == 1


def test_durability_is_not_traded_for_speed_and_no_port_is_opened(start):
    server = start()
    settings = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "server_encoding": "UTF8",
    }
    assert {name: one(server.url, f"SHOW {name}") for name in settings} == settings
    socket_directory = Path(one(server.url, "SHOW unix_socket_directories"))
    assert socket_directory.stat().st_mode & 0o077 == 0


def test_a_second_supervisor_shares_it_and_the_last_one_stops_it(home, start):
    first = start()
    second = ready(child(SUPERVISOR, home))
    pid = postmaster_pid(home)
    assert first.stop(soon()) is False
    assert postmaster_pid(home) == pid
    second.communicate("\n", timeout=30)
    assert second.returncode == 0
    assert postmaster_pid(home) is None


def test_supervisors_that_start_at_once_get_one_server(home):
    supervisors = [child(SUPERVISOR, home) for _ in range(4)]
    ready(*supervisors)
    assert postmaster_pid(home) is not None
    for supervisor in supervisors:
        supervisor.communicate("\n", timeout=60)
    assert [supervisor.returncode for supervisor in supervisors] == [0] * 4
    assert postmaster_pid(home) is None


def test_a_killed_supervisor_leaves_it_and_the_next_one_takes_it_over_and_stops_it(home, start):
    supervisor = ready(child(SUPERVISOR, home))
    pid = postmaster_pid(home)
    supervisor.kill()
    supervisor.communicate()
    assert postmaster_pid(home) == pid
    server = start()
    assert postmaster_pid(home) == pid
    assert server.stop(soon()) is True


def test_an_interrupt_at_the_terminal_does_not_reach_it(home):
    # A session of its own: the terminal signals the foreground process group of its session and no other.
    supervisor = ready(child(SUPERVISOR, home))
    pid = postmaster_pid(home)
    assert os.getsid(pid) != os.getsid(supervisor.pid)
    assert os.getpgid(pid) != os.getpgid(supervisor.pid)
    supervisor.communicate("\n", timeout=30)


def test_a_server_that_is_stopping_is_waited_for_and_started_again(home, start):
    server = start()
    with psycopg.connect(server.url) as connection:
        # A smart shutdown waits for this connection to end, so the next start finds a server that is stopping.
        os.kill(postmaster_pid(home), signal.SIGTERM)
        until(lambda: refuses(server.url))
        with pytest.raises(DatabaseUnavailableError, match="not ready in time"):
            EmbeddedServer.start(home, 300)
        connection.close()
    server.ensure_running(TIMEOUT_MS)
    assert one(server.url, "SELECT 1") == 1


def test_a_stale_process_number_that_is_somebody_elses_by_now_is_no_server(home, start):
    server = start()
    pid = dead(home)
    server.stop(soon())
    file = postmaster_file(ServerFiles.below(home).data)
    lines = file.read_text().splitlines()
    # Of the same user: PostgreSQL tells by itself that one of another user's is not its own.
    owner = file.stat().st_uid
    with subprocess.Popen(["sleep", "60"], **({"user": owner} if os.geteuid() == 0 else {})) as stranger:
        file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        (Path(lines[4]) / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n")
        server = start()
        assert postmaster_pid(home) not in (pid, stranger.pid)
        server.stop(soon())
        assert stranger.poll() is None
        stranger.kill()


def test_a_socket_that_was_cleaned_away_comes_back(home, start):
    server = start()
    Path(one(server.url, "SHOW unix_socket_directories"), ".s.PGSQL.5432").unlink()
    server.ensure_running(TIMEOUT_MS)
    assert one(server.url, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["with space", "with'quote", "with,comma", "with$dollar`tick", "ünïcödé", "x" * 120])
def test_an_awkward_path_works(tmp_path, name):
    server = EmbeddedServer.start(tmp_path / name, TIMEOUT_MS)
    try:
        assert one(server.url, "SELECT 1") == 1
        client = PGMQueue(conn_string=server.url, init_extension=False, pool_size=1)
        client.close()
        assert Path(one(server.url, "SHOW unix_socket_directories")).stat().st_mode & 0o077 == 0
    finally:
        assert server.stop(soon()) is True


def test_it_runs_for_a_user_who_is_not_root(tmp_path_factory):
    # Everything is imported before root is given up, because nobody else may read this Python on some machines.
    code = """
import os, pathlib, sys, time, tempfile
import psycopg
from tasker_actors.postgres.embedded import EmbeddedServer
with tempfile.TemporaryDirectory(prefix="tasker-user-") as home:
    if os.geteuid() == 0:
        os.chown(home, 65534, 65534)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    server = EmbeddedServer.start(pathlib.Path(home), 60_000)
    with psycopg.connect(server.url) as connection:
        print(connection.execute("SELECT 1").fetchone()[0], os.geteuid() != 0)
    server.stop(time.monotonic() + 20)
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environ, cwd="/", timeout=90
    )
    assert result.stdout == "1 True\n", result.stderr


def test_a_home_that_cannot_be_used_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way", encoding="utf-8")
    with pytest.raises(StartupError, match=f"cannot use {blocked}"):
        EmbeddedServer.start(blocked, TIMEOUT_MS)


def test_data_of_another_major_version_is_refused(home, start):
    start().stop(soon())
    (ServerFiles.below(home).data / "PG_VERSION").write_text("14\n", encoding="utf-8")
    with pytest.raises(StartupError, match="was made by PostgreSQL 14"):
        EmbeddedServer.start(home, TIMEOUT_MS)


def test_a_server_that_ends_at_once_says_why(home, start):
    start().stop(soon())
    with (ServerFiles.below(home).data / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
        settings.write("shared_buffers = 'nonsense'\n")
    with pytest.raises(StartupError, match=r"ended at once: .*shared_buffers"):
        EmbeddedServer.start(home, TIMEOUT_MS)


def test_a_failed_start_leaves_no_claim_on_the_home(home, start):
    server = start()
    os.kill(postmaster_pid(home), signal.SIGSTOP)
    stopped = postmaster_pid(home)
    try:
        with pytest.raises(DatabaseUnavailableError, match="refuses a connection"):
            EmbeddedServer.start(home, 500)
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert server.stop(soon()) is True


def test_past_the_deadline_it_is_stopped_at_once(home, start):
    server = start()
    os.kill(postmaster_pid(home), signal.SIGSTOP)
    pid = postmaster_pid(home)
    resumed = psutil.Process(pid)
    # A stopped process handles no signal: the fast stop runs into the deadline, and the immediate one waits for CONT.
    waker = subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {pid}"])
    assert server.stop(time.monotonic() + 0.2) is True
    waker.wait()
    assert not resumed.is_running() or resumed.status() == psutil.STATUS_ZOMBIE


def test_a_log_that_grew_large_is_moved_aside(home, start):
    start().stop(soon())
    files = ServerFiles.below(home)
    with files.log.open("ab") as log:
        log.truncate(17 * 1024 * 1024)
    server = start()
    assert server.log_file.stat().st_size < 1024 * 1024
    assert files.log.with_suffix(".log.1").exists()
