"""The slot's memory block, written and read as a worker and its supervisor do."""

import mmap
import os
import stat
import subprocess
import sys
import threading
import time
from itertools import count

import pytest

from tasker_actors.errors import StartupError
from tasker_actors.stats import layout
from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.counters import EventRouterStats, InProcessEventBusStats
from tasker_actors.stats.figures import OVERFLOW, HistogramValue, overflow_labels
from tasker_actors.stats.reader import BlockReader, Heartbeat
from tasker_actors.telemetry.metrics import (
    CLOSED_LABELS,
    DURATION_BOUNDS_MS,
    EVENT_PUBLISH_DURATION,
    EVENT_REFUSALS,
    EVENTS_PUBLISHED,
    SPANS_DROPPED,
    STEP_EXECUTION_DURATION,
    STEP_FAILURES,
    STEPS_ACTIVE,
    TABLE,
    MetricKind,
)

DELAYED = ("flights", "flight.delayed", "durable", "default")


@pytest.fixture
def path(tmp_path):
    return create_block(tmp_path, slot=2, incarnation=7, executors=3)


def small(tmp_path, cells, **limits):
    """A block whose directory has room for so many cells beside the reserve."""
    size = (layout.TOKENS + 2 + cells + layout.RESERVE_CELLS) * layout.CELL_BYTES
    path = create_block(tmp_path, slot=0, incarnation=1, executors=1, size_bytes=size)
    return BlockWriter(path, **limits), BlockReader(path)


def test_a_new_block_shows_nothing_but_zeros(reader):
    snapshot = reader.snapshot()
    assert snapshot.router.stats() == EventRouterStats()
    assert snapshot.bus == InProcessEventBusStats()
    assert snapshot.figures.counters == {}
    assert reader.running_tokens() == (0, 0, 0)
    assert reader.heartbeat() == Heartbeat(0, 0)
    assert (reader.slot, reader.incarnation) == (2, 7)


def test_only_its_user_can_read_a_block(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_block_occupies_its_space_from_the_start(path):
    assert path.stat().st_blocks * 512 >= layout.DEFAULT_SIZE_BYTES


def test_a_leftover_file_is_replaced_and_a_symbolic_link_not_followed(tmp_path):
    innocent = tmp_path / "innocent"
    innocent.write_text("mine")
    (tmp_path / "slot-0.1.stats").symlink_to(innocent)
    create_block(tmp_path, slot=0, incarnation=1, executors=1)
    assert innocent.read_text() == "mine"


def test_router_bus_tokens_and_heartbeat_reach_the_reader(writer, reader):
    writer.router[layout.DURABLE] += 3
    writer.router[layout.BROADCAST] += 2
    writer.router[layout.BROADCAST_REFUSED] += 1
    writer.bus[layout.EVENTS_DISPATCHED] += 5
    writer.bus[layout.FFI_SUBSCRIBERS] = 1
    writer.shared_bus_counter(layout.HANDLER_ERRORS).add(2)
    writer.tokens[1] = 2**63 + 5
    writer.deadlines[1] = 77
    writer.deadlines[2] = 88  # of a step that has ended
    writer.beat(123456789, 42)
    snapshot = reader.snapshot()
    assert snapshot.router.stats() == EventRouterStats(5, 3, 0, 2, 1, 0)
    assert snapshot.bus == InProcessEventBusStats(
        total_events_dispatched=5, rust_handler_errors=2, ffi_subscriber_count=1
    )
    assert reader.running_tokens() == (0, 2**63 + 5, 0)
    assert reader.running_until_ns() == 77
    assert reader.heartbeat() == Heartbeat(123456789, 42)


def test_the_attempts_that_have_begun_reach_the_reader_and_leave_the_directory_alone(tmp_path):
    path = create_block(tmp_path, slot=0, incarnation=1, executors=2, places=3)
    writer, reader = BlockWriter(path), BlockReader(path)
    assert (len(writer.begun), reader.begun_tokens()) == (3, frozenset())
    writer.tokens[1] = 5
    writer.begun[0], writer.begun[2] = 7, 2**63 + 5
    writer.counter(EVENT_REFUSALS, ("flights", "code")).add(3)

    assert reader.begun_tokens() == {7, 2**63 + 5}
    assert reader.running_tokens() == (0, 5)
    assert reader.snapshot().figures.counters == {EVENT_REFUSALS: {("flights", "code"): 3}}


def test_every_bus_counter_can_be_shared_and_adds_to_the_bus_threads_own(writer, reader):
    for cell in range(layout.BUS_CELLS):
        writer.bus[cell] += 1
        writer.shared_bus_counter(cell).add(10)
    assert set(reader.snapshot().bus.to_dict().values()) == {11}
    with pytest.raises(ValueError, match="no counter 9"):
        writer.shared_bus_counter(layout.BUS_CELLS)


def test_labelled_figures_of_every_kind_reach_the_reader(writer, reader):
    writer.counter(EVENTS_PUBLISHED, DELAYED).add(4)
    writer.counter(EVENTS_PUBLISHED, DELAYED).add()
    writer.counter(SPANS_DROPPED, ()).add(9)
    writer.gauge(STEPS_ACTIVE, ()).set(2.5)
    histogram = writer.histogram(STEP_EXECUTION_DURATION, ("flights", "success"))
    for milliseconds in (0.1, 0.2, 99999.0):
        histogram.observe(milliseconds)
    figures = reader.snapshot().figures
    assert figures.counters == {EVENTS_PUBLISHED: {DELAYED: 5}, SPANS_DROPPED: {(): 9}}
    assert figures.gauges == {STEPS_ACTIVE: {(): 2.5}}
    value = figures.histograms[STEP_EXECUTION_DURATION]["flights", "success"]
    assert value == HistogramValue.of((1, 1, *(0,) * (len(DURATION_BOUNDS_MS) - 2), 1), 0.1 + 0.2 + 99999.0)
    assert value.count == 3


def test_the_upper_bound_belongs_to_its_bucket(writer, reader):
    writer.histogram(STEP_EXECUTION_DURATION, ("flights", "success")).observe(2.5)
    [value] = reader.snapshot().figures.histograms[STEP_EXECUTION_DURATION].values()
    assert value.buckets.index(1) == DURATION_BOUNDS_MS.index(2.5)


@pytest.mark.parametrize("duration", [-1.0, float("nan"), float("inf"), float("-inf")])
def test_an_impossible_duration_counts_as_zero_and_leaves_the_sum_finite(writer, reader, duration):
    writer.histogram(STEP_EXECUTION_DURATION, ("flights", "success")).observe(duration)
    [value] = reader.snapshot().figures.histograms[STEP_EXECUTION_DURATION].values()
    assert (value.buckets[0], value.total) == (1, 0.0)


def test_a_declared_label_set_exists_at_zero(writer, reader):
    writer.declare(EVENTS_PUBLISHED, DELAYED)
    writer.declare(STEP_EXECUTION_DURATION, ("flights", "success"))
    figures = reader.snapshot().figures
    assert figures.counters == {EVENTS_PUBLISHED: {DELAYED: 0}}
    assert figures.histograms == {STEP_EXECUTION_DURATION: {("flights", "success"): HistogramValue()}}


def test_a_reader_finds_what_was_appended_after_its_last_look(writer, reader):
    writer.counter(EVENT_REFUSALS, ("flights", "too_large")).add()
    reader.snapshot()
    writer.counter(EVENT_REFUSALS, ("flights", "not_json")).add(2)
    assert reader.snapshot().figures.counters[EVENT_REFUSALS] == {
        ("flights", "too_large"): 1,
        ("flights", "not_json"): 2,
    }


def test_a_cleared_gauge_disappears_and_starts_again_at_zero(writer, reader):
    gauge = writer.gauge(STEPS_ACTIVE, ())
    gauge.set(5)
    gauge.clear()
    assert reader.snapshot().figures.gauges == {}
    gauge.add(2)
    gauge.add(-1)
    assert reader.snapshot().figures.gauges == {STEPS_ACTIVE: {(): 1.0}}


def test_a_counter_refuses_to_fall(writer):
    with pytest.raises(ValueError, match="cannot fall by 1"):
        writer.counter(EVENTS_PUBLISHED, DELAYED).add(-1)


def test_the_kind_and_the_number_of_labels_are_checked(writer):
    with pytest.raises(TypeError, match="is a gauge, not a counter"):
        writer.counter(STEPS_ACTIVE, ())
    with pytest.raises(TypeError, match="is a counter, not a gauge"):
        writer.gauge(EVENTS_PUBLISHED, DELAYED)
    with pytest.raises(TypeError, match="is a counter, not a histogram"):
        writer.histogram(EVENTS_PUBLISHED, DELAYED)
    with pytest.raises(ValueError, match=r"namespace, event_name, delivery_mode, publisher and got 1 value"):
        writer.counter(EVENTS_PUBLISHED, ("flights",))


def test_a_label_that_cannot_be_stored_as_it_is_is_cut_and_cleaned(writer, reader):
    writer.counter(EVENT_REFUSALS, ("flights", "x" * 300)).add()
    writer.counter(EVENT_REFUSALS, ("flights", "x" * 400)).add()
    writer.counter(EVENT_REFUSALS, ("flights", "\ud800")).add()
    assert reader.snapshot().figures.counters[EVENT_REFUSALS] == {("flights", "x" * 255): 2, ("flights", "?"): 1}


class _Count(int):
    """A number whose addition lets other threads run, as any addition may on an interpreter without a global lock."""

    def __radd__(self, other):
        os.sched_yield()
        return int(other) + int(self)


class _Duration(float):
    """The same as a floating point number."""

    def __radd__(self, other):
        os.sched_yield()
        return float(other) + float(self)


@pytest.fixture
def switches():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def together(work, threads=8):
    start = threading.Barrier(threads)

    def begin(number):
        start.wait()
        work(number)

    running = [threading.Thread(target=begin, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def test_threads_that_share_a_cell_lose_nothing(writer, reader):
    cells = [writer.counter(EVENTS_PUBLISHED, DELAYED), writer.shared_bus_counter(layout.HANDLER_ERRORS)]
    gauge = writer.gauge(STEPS_ACTIVE, ())
    histogram = writer.histogram(STEP_EXECUTION_DURATION, ("flights", "success"))

    def work(_number):
        for _ in range(500):
            for cell in cells:
                cell.add(_Count(1))
            gauge.add(_Duration(1.0))
            histogram.observe(_Duration(1.0))

    together(work)
    snapshot = reader.snapshot()
    assert snapshot.figures.counters[EVENTS_PUBLISHED][DELAYED] == 4000
    assert snapshot.bus.rust_handler_errors == 4000
    assert snapshot.figures.gauges[STEPS_ACTIVE][()] == 4000.0
    value = snapshot.figures.histograms[STEP_EXECUTION_DURATION]["flights", "success"]
    assert (value.count, value.total) == (4000, 4000.0)


@pytest.mark.usefixtures("switches")
def test_threads_that_register_at_once_make_one_series_each(writer, reader):
    def work(number):
        for step in range(400):
            writer.counter(EVENT_REFUSALS, ("flights", f"code_{(step + number * 50) % 400}")).add()

    together(work)
    assert list(reader.snapshot().figures.counters[EVENT_REFUSALS].values()) == [8] * 400
    assert len(reader._entries) == 400


def test_past_the_limit_of_label_sets_the_overflow_series_counts(tmp_path):
    writer, reader = small(tmp_path, 1000, label_sets_per_metric=2)
    for number in range(5):
        for mode in ("durable", "fast"):
            writer.counter(EVENTS_PUBLISHED, ("flights", f"flight.e{number}", mode, "default")).add(number + 1)
    snapshot = reader.snapshot()
    assert snapshot.figures.counters[EVENTS_PUBLISHED] == {
        ("flights", "flight.e0", "durable", "default"): 1,
        ("flights", "flight.e0", "fast", "default"): 1,
        (OVERFLOW, OVERFLOW, "durable", OVERFLOW): 14,
        (OVERFLOW, OVERFLOW, "fast", OVERFLOW): 14,
    }


def test_announced_label_sets_take_no_place_of_others(tmp_path):
    writer, reader = small(tmp_path, 1000, label_sets_per_metric=1)
    for number in range(3):
        writer.declare(EVENT_REFUSALS, ("flights", f"known_{number}"))
        writer.declare(EVENT_REFUSALS, ("flights", f"known_{number}"))
    for code in ("a", "b"):
        writer.counter(EVENT_REFUSALS, ("flights", code)).add()
    assert reader.snapshot().figures.counters[EVENT_REFUSALS] == {
        **{("flights", f"known_{number}"): 0 for number in range(3)},
        ("flights", "a"): 1,
        (OVERFLOW, OVERFLOW): 1,
    }


def test_a_full_block_still_counts_everything(tmp_path):
    writer, reader = small(tmp_path, 40)
    for number in range(500):
        writer.counter(EVENT_REFUSALS, ("flights", f"code_{number}")).add()
        writer.histogram(STEP_EXECUTION_DURATION, (f"ns_{number}", "success")).observe(1.0)
    figures = reader.snapshot().figures
    assert figures.total(EVENT_REFUSALS) == 500
    assert figures.counters[EVENT_REFUSALS][OVERFLOW, OVERFLOW] > 400
    assert sum(value.count for value in figures.histograms[STEP_EXECUTION_DURATION].values()) == 500


def test_the_reserve_holds_every_overflow_series_there_can_be(tmp_path):
    writer, reader = small(tmp_path, 1, label_sets_per_metric=0)
    for metric in TABLE:
        combinations = [()]
        for name in metric.worker_labels:
            values = [*CLOSED_LABELS.get(name, ()), "any"]
            combinations = [(*labels, value) for labels in combinations for value in values]
        for labels in combinations:
            assert writer._register(metric, labels) is not None
    counters = reader.snapshot().figures.counters
    assert len(counters) == sum(metric.kind is MetricKind.COUNTER for metric in TABLE)
    assert counters[STEP_FAILURES].keys() == {
        overflow_labels(STEP_FAILURES.labels, ("any", "any", "any", retryable)) for retryable in ("true", "false", "")
    }


class _Dying:
    """Cells whose writer is killed at its nth store."""

    def __init__(self, cells, stores):
        self._cells = cells
        self._stores = stores

    def __getitem__(self, place):
        if isinstance(place, slice):
            self._die_when_due()
        return self._cells[place]

    def __setitem__(self, place, value):
        self._die_when_due()
        self._cells[place] = value

    def _die_when_due(self):
        if self._stores == 0:
            raise ConnectionAbortedError
        self._stores -= 1


def test_an_entry_that_its_writer_did_not_finish_is_ignored_and_appended_again(tmp_path):
    """The writer dies before each store of an append in turn; the reader sees the entry whole or not at all."""
    for stores in count():
        writer, reader = small(tmp_path, 1000)
        writer.counter(EVENT_REFUSALS, ("flights", "first")).add(3)
        whole = writer._memory.cells
        writer._memory.cells = _Dying(whole, stores)
        try:
            writer.declare(EVENT_PUBLISH_DURATION, ("flights", "durable", "success"))
        except ConnectionAbortedError:
            snapshot = reader.snapshot()
            assert snapshot.figures.counters == {EVENT_REFUSALS: {("flights", "first"): 3}}
            assert snapshot.figures.histograms == {}
            writer._memory.cells = whole
            writer.histogram(EVENT_PUBLISH_DURATION, ("flights", "fast", "failure")).observe(1.0)
            assert [*reader.snapshot().figures.histograms[EVENT_PUBLISH_DURATION]] == [("flights", "fast", "failure")]
        else:
            break
    assert stores == 3  # head, key, commit


def test_an_entry_whose_key_has_not_arrived_yet_is_read_later(writer, reader):
    """On a machine that reorders stores the commit cell can be seen first."""
    writer.counter(EVENT_REFUSALS, ("flights", "first")).add(3)
    cells = writer._memory.cells
    key = writer._layout.directory + layout.ENTRY_HEAD_CELLS
    arrived, cells[key] = cells[key], 0
    assert reader.snapshot().figures.counters == {}
    cells[key] = arrived
    assert reader.snapshot().figures.counters == {EVENT_REFUSALS: {("flights", "first"): 3}}


WORKER = """
import signal, sys
from pathlib import Path
from tasker_actors.stats.block import BlockWriter
from tasker_actors.stats.layout import DURABLE
from tasker_actors.telemetry.metrics import EVENT_REFUSALS
block = BlockWriter(Path(sys.argv[1]), label_sets_per_metric=100_000)
for number in range(1, 20_001):  # what the block has room for, should the test be slow to kill
    block.tokens[0] = number
    block.counter(EVENT_REFUSALS, ("flights", str(number))).add(number)
    block.router[DURABLE] += 1
signal.pause()
"""


@pytest.mark.parametrize("labels", [1, 100, 2000])
def test_after_kill_9_everything_counted_is_there_and_nothing_else(tmp_path, labels):
    path = create_block(tmp_path, slot=0, incarnation=1, executors=1)
    reader = BlockReader(path)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(path)])
    deadline = time.monotonic() + 30
    seen = 0
    while seen < labels:
        assert time.monotonic() < deadline
        assert worker.poll() is None
        snapshot = reader.snapshot()
        assert snapshot.figures.total(EVENT_REFUSALS) >= seen
        seen = len(snapshot.figures.counters.get(EVENT_REFUSALS, {}))
    worker.kill()
    worker.wait()

    for look in (reader, BlockReader(path)):
        snapshot = look.snapshot()
        counts = list(snapshot.figures.counters[EVENT_REFUSALS].items())
        routed, [running] = snapshot.router.durable, look.running_tokens()
        assert counts[:-1] == [(("flights", str(number)), number) for number in range(1, len(counts))]
        assert counts[-1][1] in (0, len(counts))
        assert running - 1 <= routed <= running
        assert len(counts) in (running - 1, running)
        look.remove()


FORK = """
import os, sys
from pathlib import Path
from tasker_actors.stats.block import BlockWriter
from tasker_actors.stats.layout import DURABLE
from tasker_actors.telemetry.metrics import EVENT_REFUSALS
block = BlockWriter(Path(sys.argv[1]))
counter = block.counter(EVENT_REFUSALS, ("flights", "code"))
counter.add(1); block.router[DURABLE] += 1; block.tokens[0] = 7
block._memory.lock.acquire()
child = os.fork()
if child == 0:
    counter.add(100); block.router[DURABLE] += 100; block.tokens[0] = 0
    block.counter(EVENT_REFUSALS, ("flights", "other")).add(100)
    os._exit(0)
block._memory.lock.release()
assert os.waitpid(child, 0)[1] == 0
counter.add(1)
"""


def test_the_child_of_a_fork_counts_for_itself_whatever_lock_was_held(tmp_path):
    path = create_block(tmp_path, slot=0, incarnation=1, executors=1)
    subprocess.run([sys.executable, "-c", FORK, str(path)], check=True, timeout=30)
    reader = BlockReader(path)
    snapshot = reader.snapshot()
    assert snapshot.figures.counters == {EVENT_REFUSALS: {("flights", "code"): 2}}
    assert snapshot.router.durable == 1
    assert reader.running_tokens() == (7,)


def test_remove_unmaps_and_deletes_once(path):
    reader = BlockReader(path)
    reader.remove()
    assert not path.exists()
    reader.remove()
    with pytest.raises(ValueError, match="released"):
        reader.running_tokens()


def test_a_file_that_is_no_block_or_of_another_release_is_refused(tmp_path, path):
    missing = tmp_path / "missing"
    with pytest.raises(StartupError, match=str(missing)):
        BlockReader(missing)
    foreign = tmp_path / "foreign"
    foreign.write_bytes(bytes(4096))
    with pytest.raises(StartupError, match="not a stats block"):
        BlockWriter(foreign)
    short = tmp_path / "short"
    short.write_bytes(b"x")
    with pytest.raises(StartupError, match=str(short)):
        BlockReader(short)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as block:
        block[layout.TABLE_VERSION_CELL * 8] ^= 1
    with pytest.raises(StartupError, match="of this release"):
        BlockReader(path)


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StartupError, match="nowhere"):
        create_block(tmp_path / "nowhere", slot=0, incarnation=1, executors=1)


def test_no_room_for_the_block_is_told_when_it_is_created(tmp_path):
    with pytest.raises(StartupError, match="give a directory with room"):
        create_block(tmp_path, slot=0, incarnation=1, executors=1, size_bytes=2**62)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("executors", "size"), [(0, layout.DEFAULT_SIZE_BYTES), (1, 4096), (1, 2**20 + 1)])
def test_an_impossible_layout_is_refused(tmp_path, executors, size):
    with pytest.raises(ValueError, match="stats block"):
        create_block(tmp_path, slot=0, incarnation=1, executors=executors, size_bytes=size)
