"""Captures read ahead, batch by batch: by a thread, or where it is worth it by a fork.

Reading, decoding and whatever else depends on no batch before goes on while the batch before is taken in. A
section of a pcapng may have any number of interfaces, of which few are new with each batch: a fork hands over
only those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from netplayground.capture.ahead import Ahead
from netplayground.capture.merging import Captures, Read
from netplayground.capture.records import (
    BATCH,
    BATCHES,
    BUFFER,
    Allocate,
    Batch,
    Interface,
    Interfaces,
    allocate,
)
from netplayground.errors import PlaygroundError

if TYPE_CHECKING:
    from netplayground.capture.apart import Apart
    from netplayground.capture.fast import Batches, Prepared

_COLUMNS_ROOM = 8 << 20
"""What `fast.prepare` makes of `PACKETS_MOST` packets is half of it."""


class Step(NamedTuple):
    """A batch, with what can be done for it before it is its turn; None: there are no more."""

    batch: Batch | None
    prepared: Prepared | None
    read: Read


class Steps(Protocol):
    """Step after step; `close` must be called, then it is over."""

    is_apart: bool

    def __next__(self) -> Step: ...

    def close(self) -> None: ...


class StepsAhead:
    """Steps that a thread makes."""

    is_apart = False

    def __init__(self, paths: Sequence[Path], vectors: bool) -> None:
        self._steps = Ahead(_steps(paths, vectors, allocate))

    def __next__(self) -> Step:
        return next(self._steps)

    def close(self) -> None:
        """Stop reading."""
        self._steps.close()


class StepsApart:
    """Steps that a fork makes; nothing of one is good any more when the next is asked for."""

    is_apart = True

    def __init__(self, path: Path) -> None:
        """Raises OSError where no process, or no memory, can be had."""
        from netplayground.capture.apart import SLOTS, Apart, Shared

        assert SLOTS <= BATCHES, "a batch would be overwritten while it is in use"
        self._path = path
        self._known: list[Interface] = []
        shared = Shared(BATCHES * BUFFER, _COLUMNS_ROOM)
        self._lean: Apart[_Lean] = Apart(_lean(_steps([path], True, shared.allocate)), shared)

    def __next__(self) -> Step:
        try:
            step, begins, added = next(self._lean)
        except ChildProcessError as error:
            raise PlaygroundError(f"cannot read {self._path}: {error}") from error
        if step.batch is not None:
            self._known = [] if begins else self._known
            self._known += added
            step.batch.interfaces = replace(step.batch.interfaces, known=self._known)
        return step

    def close(self) -> None:
        """End the fork."""
        self._lean.close()


def read_ahead(paths: Sequence[Path], vectors: bool) -> Steps:
    """Begin to read captures; with `vectors` batches are prepared, where NumPy is installed."""
    if vectors and _is_worth_a_fork(paths):
        # Where no more processes are allowed, or no more memory, a thread does it as well, if slower.
        with suppress(OSError):
            return StepsApart(paths[0])
    return StepsAhead(paths, vectors)


def _is_worth_a_fork(paths: Sequence[Path]) -> bool:
    # Of several captures each has memory of its own.
    if len(paths) > 1 or (paths[0].is_file() and paths[0].stat().st_size <= BATCH):
        return False
    # Imported before the fork: both must mix hashes alike (`columns`).
    if short_way()[0] is None:
        return False
    from netplayground.capture.apart import is_possible

    return is_possible()


def short_way() -> tuple[type[Batches] | None, Callable[[Batch], Prepared | None]]:
    """Give the way for whole batches, and what prepares them; none where NumPy is not installed."""
    try:
        from netplayground.capture.fast import Batches, prepare
    except ImportError as error:
        if error.name != "numpy":
            raise
        return None, _unprepared
    return Batches, prepare


def _unprepared(batch: Batch) -> None:
    return None


def _steps(paths: Sequence[Path], vectors: bool, allocate: Allocate) -> Iterator[Step]:
    prepare = short_way()[1] if vectors else _unprepared
    captures = Captures(list(paths), allocate)
    try:
        for batch in captures.batches():
            yield Step(batch, prepare(batch), captures.read)
        yield Step(None, None, captures.read)
    finally:
        captures.close()


_Lean = tuple[Step, bool, list[Interface]]
"""A step without its interfaces, whether a section begins with it, and the interfaces that are new in it."""


def _lean(steps: Iterator[Step]) -> Iterator[_Lean]:
    section: list[Interface] = []
    sent = 0
    for step in steps:
        batch, begins = step.batch, False
        if batch is None:
            yield step, begins, []
            continue
        known, count = batch.interfaces.known, batch.interfaces.count
        if known is not section:
            section, sent, begins = known, 0, True
        lean = replace(batch, interfaces=Interfaces([], count))
        yield step._replace(batch=lean), begins, known[sent:count]
        sent = max(sent, count)
