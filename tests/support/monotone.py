"""Counters never fall while their supervisor lives, whatever happens to workers and database (DESIGN G5)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import httpx
from support.supervised import Supervised

_INTERVAL_S = 0.2
_REQUEST_S = 10.0
_COUNTERS = ("_total", "_count", "_sum", "_bucket")


def counters(text: str) -> dict[str, float]:
    """Read the counters of a scrape: series as it is written to value."""
    found = {}
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        if series.partition("{")[0].endswith(_COUNTERS) and not line.startswith("#"):
            found[series] = float(value)
    return found


def falls(before: Mapping[str, float], after: Mapping[str, float]) -> Iterator[str]:
    """Name the counters that went down or vanished from one scrape to the next of the same supervisor."""
    for series, value in before.items():
        if series not in after:
            yield f"{series} was {value:g} and is gone"
        elif after[series] < value:
            yield f"{series} fell from {value:g} to {after[series]:g}"


class _Scraper:
    def __init__(self, url: str) -> None:
        self._url = url
        self._ending = threading.Event()
        self._latest: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.fell: list[str] = []

    def start(self) -> None:
        self.look()
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def look(self) -> None:
        text = httpx.get(f"{self._url}/metrics", timeout=_REQUEST_S).raise_for_status().text
        latest = counters(text)
        self.fell.extend(falls(self._latest, latest))
        self._latest = latest

    def _run(self) -> None:
        while not self._ending.wait(_INTERVAL_S):
            with suppress(httpx.TransportError):  # a busy machine; the last look must succeed
                self.look()


@contextmanager
def monotone(one: Supervised) -> Iterator[None]:
    """Scrape all along the block, and once at its end; fails if any counter fell or vanished in between."""
    scraper = _Scraper(one.url)
    scraper.start()
    try:
        yield
    finally:
        scraper.stop()
    scraper.look()
    assert not scraper.fell, scraper.fell[:20]
