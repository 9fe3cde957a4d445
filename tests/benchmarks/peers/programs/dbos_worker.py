"""A process of DBOS: runs a number of chains, then waits for TERM."""

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dbos import DBOS, SetWorkflowID
from journal import entered, write

THREADS = 16


@DBOS.step()
def nothing(number: int) -> dict[str, bool]:
    """Do nothing."""
    entered(0)
    return {"done": True}


@DBOS.workflow()
def chain(number: int) -> None:
    """Four steps in a row."""
    for _ in range(4):
        nothing(number)


def run(number: int) -> None:
    """One chain."""
    with SetWorkflowID(f"{os.getpid()}-{time.monotonic_ns()}-{number}"):
        chain(number)


def main() -> None:
    """Run them, and say when."""
    url = sys.argv[1].replace("postgresql://", "postgresql+psycopg://")
    DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "WARNING"})
    DBOS.launch()
    directory = Path(os.environ["BENCH_JOURNALS"])
    write(directory / f"{os.getpid()}.booted", "")
    pause = threading.Event()
    while len(list(directory.glob("*.booted"))) < 2:  # so that both begin together
        pause.wait(0.01)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(run, range(int(sys.argv[2]))))
    write(directory / f"{os.getpid()}.done", "")
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


main()
