"""Everything native of a worker, loaded between the two phases of telemetry (SPEC 4.1)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tasker_actors.errors import NativeLibraryError
from tasker_actors.native.dispositions import put_back, read_dispositions
from tasker_actors.native.files import locate
from tasker_actors.native.library import Answer, NativeLibrary
from tasker_actors.native.reference import NativeReference
from tasker_actors.settings import NativeSettings
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.native")


@dataclass(frozen=True, slots=True)
class WantedHandler:
    """A native step handler that a template names; `needed_by` says which step of which template."""

    path: str
    symbol: str
    needed_by: str


@dataclass(frozen=True, slots=True)
class LoadedHandler:
    """A native step handler that is ready to be called with the step's context as JSON."""

    file: Path
    call: Callable[[bytes], Answer]


@dataclass(frozen=True, slots=True)
class NativeSubscriber:
    """A native subscriber that is ready to be called with an event as JSON; returns 0 if all went well."""

    name: str
    patterns: tuple[str, ...]
    call: Callable[[bytes], int]


@dataclass(frozen=True, slots=True)
class NativeBridge:
    """The native handlers and subscribers of this process; empty where nothing native is used."""

    handlers: Mapping[NativeReference, LoadedHandler] = field(default_factory=dict)
    subscribers: tuple[NativeSubscriber, ...] = ()

    @classmethod
    def load(
        cls, settings: NativeSettings, wanted: Sequence[WantedHandler], *, worker: int, environment: str
    ) -> NativeBridge:
        """Load each library once, in the order in which they are named, and find every function.

        For the main thread, while it is the only one. Runs the libraries' code: it blocks as long as that does, and
        a crash there ends the process. Raises NativeLibraryError naming library, function and who needs it.
        """
        loader = _Loader(settings.directory, orjson.dumps({"worker_slot": worker, "environment": environment}))
        handlers: dict[NativeReference, LoadedHandler] = {}
        for want in wanted:
            with _needed_by(want.needed_by):
                library = loader.library(want.path)
                handlers[NativeReference(want.path, want.symbol)] = LoadedHandler(
                    library.file, library.handler(want.symbol)
                )
        subscribers = []
        for spec in settings.subscribers:
            with _needed_by("native.subscribers"):
                call = loader.library(spec.library).subscriber(spec.symbol)
                subscribers.append(NativeSubscriber(f"{spec.library}#{spec.symbol}", spec.patterns, call))
        return cls(handlers, tuple(subscribers))


@contextmanager
def _needed_by(who: str) -> Iterator[None]:
    """Say in an error who needs the library."""
    try:
        yield
    except NativeLibraryError as error:
        msg = f"{who}: {error}"
        raise NativeLibraryError(msg) from error


class _Loader:
    """Loads libraries, once by real path, and keeps this process as it was around that."""

    def __init__(self, directory: Path, configuration: bytes) -> None:
        self._directory = directory
        self._configuration = configuration
        self._libraries: dict[Path, NativeLibrary] = {}

    def library(self, path: str) -> NativeLibrary:
        file = locate(self._directory, path)
        if file not in self._libraries:
            self._libraries[file] = self._load(file)
            logger.info("Native library loaded", library=str(file))
        return self._libraries[file]

    def _load(self, file: Path) -> NativeLibrary:
        own_pid = os.getpid()
        before = read_dispositions()
        try:
            return NativeLibrary(file, self._configuration)
        finally:
            if os.getpid() != own_pid:
                # A child that the library forked came back here: two of this worker would run the same steps.
                os._exit(0)
            if changed := put_back(before):
                logger.warning(
                    "A native library changed signals that the worker owns; they are as before",
                    library=str(file),
                    signals=changed,
                )
