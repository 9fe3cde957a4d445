"""What the figures of `scripts/bench` are, and what they should be; README has a table of each of the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure is, and what it should be; at most this for times and memory, else at least."""

    text: str
    unit: str
    aim: float | None
    is_limit: bool = False


AIMS: Mapping[str, Aim] = {
    "steps_per_s": Aim("steps a second, 2 workers, one durable event each", "/s", None),
    "steps_per_s_with_creation": Aim("the same, from the creation of the first task", "/s", None),
    "pgbench_commits_per_s": Aim("one-row commits of pgbench, 8 clients", "/s", None),
    "steps_per_pgbench_commit": Aim("steps per pgbench commit", "", 0.7),
    "chain_p50_ms": Aim("four-step chain, idle, p50", " ms", 20.0, is_limit=True),
    "chain_p99_ms": Aim("four-step chain, idle, p99", " ms", None),
    "cancel_p50_ms": Aim("a cancel reaches a running handler, p50", " ms", 200.0, is_limit=True),
    "cancel_p99_ms": Aim("a cancel reaches a running handler, p99", " ms", 200.0, is_limit=True),
    "cancel_elsewhere_p50_ms": Aim("the same, asked at another supervisor, p50", " ms", 200.0, is_limit=True),
    "cancel_elsewhere_p99_ms": Aim("the same, asked at another supervisor, p99", " ms", 200.0, is_limit=True),
    "fast_events_per_s": Aim("fast events, one worker, one subscriber", "/s", 40_000),
    "tell_per_second": Aim("tell to another process, 500 bytes", "/s", 60_000),
    "ask_per_second_one_asker": Aim("ask to another process, one asker", "/s", None),
    "ask_per_second_eight_askers": Aim("ask to another process, eight askers", "/s", 10_000),
    "bare_one_way_per_second": Aim("a bare socket pair, one way", "/s", None),
    "bare_round_trips_per_second": Aim("a bare socket pair, there and back", "/s", None),
    "tell_to_bare": Aim("tell per bare one way", "", None),
    "ask_to_bare": Aim("ask per bare round trip", "", None),
    "start_to_ready_s": Aim("start to ready, embedded server present", " s", 3.0, is_limit=True),
    "telemetry_off_steps_per_s": Aim("steps a second, telemetry off", "/s", None),
    "telemetry_sampled_1_percent_steps_per_s": Aim("the same, 1 % of traces sampled", "/s", None),
    "telemetry_sampled_all_steps_per_s": Aim("the same, all traces sampled", "/s", None),
    "telemetry_dead_collector_steps_per_s": Aim("the same, all sampled, no collector answers", "/s", None),
    "telemetry_sampled_1_percent_cost_percent": Aim("cost of 1 % sampled", " %", 5.0, is_limit=True),
    "telemetry_sampled_all_cost_percent": Aim("cost of all sampled", " %", 50.0, is_limit=True),
    "telemetry_dead_collector_cost_percent": Aim("cost of a dead collector, all sampled", " %", 5.0, is_limit=True),
    "telemetry_sampled_all_dropped_percent": Aim("spans dropped, all sampled", " %", None),
    "telemetry_off_worker_rss_mb": Aim("memory of a worker after it, telemetry off", " MB", None),
    "telemetry_dead_collector_worker_rss_mb": Aim("the same, dead collector", " MB", None),
    "worker_rss_mb": Aim("resident memory of a worker at rest", " MB", 90.0, is_limit=True),
    "recovery_p50_s": Aim("kill -9 of a worker until its steps run again, p50", " s", 2.0, is_limit=True),
    "recovery_p99_s": Aim("the same, p99", " s", 2.0, is_limit=True),
    "server_restart_down_s": Aim("a restart of the server under load: seconds without it", " s", None),
    "server_restart_full_speed_s": Aim("from its return until full speed again", " s", None),
    "backlog_worker_peak_mb": Aim("100,000 steps in backlog, peak memory of a worker", " MB", 150.0, is_limit=True),
    "backlog_supervisor_peak_mb": Aim("the same, of the supervisor", " MB", None),
    "fast_events_worker_peak_mb": Aim(
        "a million fast events to a slow subscriber, peak memory of a worker", " MB", 150.0, is_limit=True
    ),
    "fast_events_supervisor_peak_mb": Aim("the same, of the supervisor", " MB", None),
}

PEER_AIMS: Mapping[str, Aim] = {
    "ours_run_per_s": Aim("single-step tasks a second, 2 workers: ours", "/s", None),
    "pgqueuer_run_per_s": Aim("PgQueuer, 2 processes", "/s", None),
    "procrastinate_run_per_s": Aim("Procrastinate, 2 processes", "/s", None),
    "celery_run_per_s": Aim("Celery on Redis, 2 processes", "/s", None),
    "dramatiq_run_per_s": Aim("Dramatiq on Redis, 2 processes", "/s", None),
    "ours_run_per_pgqueuer": Aim("ours per PgQueuer's", "", 1.0),
    "ours_run_per_procrastinate": Aim("ours per Procrastinate's", "", 10.0),
    "ours_created_per_s": Aim("created in bulk by one client, a second: ours", "/s", None),
    "pgqueuer_created_per_s": Aim("PgQueuer", "/s", None),
    "procrastinate_created_per_s": Aim("Procrastinate", "/s", None),
    "celery_created_per_s": Aim("Celery, one by one", "/s", None),
    "dramatiq_created_per_s": Aim("Dramatiq, one by one", "/s", None),
    "our_steps_run_per_s": Aim("steps a second of four-step chains, a durable event each: ours", "/s", None),
    "dbos_steps_run_per_s": Aim("DBOS, workflows of four steps, 2 processes", "/s", None),
    "our_steps_run_per_pgqueuer": Aim("our steps per PgQueuer's single jobs", "", 1.0),
    "our_steps_run_per_dbos_steps": Aim("our steps per DBOS's", "", 20.0),
    "our_tell_per_s": Aim("tell to an actor of another process, 500 bytes: ours", "/s", None),
    "xoscar_tell_per_s": Aim("xoscar", "/s", None),
    "thespian_tell_per_s": Aim("Thespian", "/s", None),
    "our_ask_per_s": Aim("ask, one asker: ours", "/s", None),
    "xoscar_ask_per_s": Aim("xoscar", "/s", None),
    "thespian_ask_per_s": Aim("Thespian", "/s", None),
    "our_asks_per_s": Aim("ask, eight askers: ours", "/s", None),
    "xoscar_asks_per_s": Aim("xoscar", "/s", None),
    "our_tell_per_xoscar": Aim("our tells per xoscar's", "", 8.0),
    "our_tell_per_thespian": Aim("our tells per Thespian's", "", 8.0),
    "our_ask_per_xoscar": Aim("our asks per xoscar's, one asker", "", 8.0),
    "our_asks_per_xoscar": Aim("the same, eight askers", "", 8.0),
    "our_ask_per_thespian": Aim("our asks per Thespian's, one asker", "", 8.0),
}
"""Of ours and of peers, measured in turns. A row that names no unit of work is of the work of the row before it."""
