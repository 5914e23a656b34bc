"""Work that is done ahead in a process of its own, where a thread would not help.

NumPy lets go of the interpreter's lock for each of a thousand small steps and takes it again: two threads of
such work spend more on handing it over than they gain. So a fork makes the items. What of them is long lies
in memory that both see; the rest goes through a pipe, pickled (PEP 574):

    item n  →  its buffers: named where they lie in `Shared.allocate`'s memory,
                            copied to slot n mod SLOTS of the shared memory while there is room,
                            else in the pipe
            →  all else:    in the pipe

An item is good until the next is asked for. Then a token goes the other way, and with a token for item n the
fork begins item n + SLOTS: so who makes items may reuse memory for every `SLOTS`th of them.

The fork ends by itself when either pipe is closed, and is killed when its parent ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from mmap import mmap
from typing import Any, BinaryIO, Generic, NoReturn, TypeVar

import numpy as np

from netplayground.sandbox.kernel import die_with_parent

Item = TypeVar("Item")
Span = tuple[int, int]

SLOTS = 4
_ALIGNED = 64
_TOKEN = b"."
_ITEM, _ERROR, _END = range(3)


def is_possible() -> bool:
    """Whether a fork has another processor to run on, and would find no lock that another thread holds."""
    return threading.active_count() == 1 and len(os.sched_getaffinity(0)) > 1


class Shared:
    """Memory that this process and its forks see alike: some to allocate, and slots."""

    def __init__(self, room: int, slot: int) -> None:
        """`room` octets can be allocated, and each slot has `slot`."""
        room, slot = room + -room % _ALIGNED, slot + -slot % _ALIGNED
        self._map = mmap(-1, room + SLOTS * slot)  # of which only what is used is memory
        self._view = memoryview(self._map)
        self._address = _address(self._view)
        self._slots = [(room + number * slot, room + (number + 1) * slot) for number in range(SLOTS)]
        self._free = 0
        self._room = room

    def allocate(self, length: int) -> memoryview | bytearray:
        """Give memory that need not be copied, or if there is no more, any."""
        begin = self._free
        if begin + length > self._room:
            return bytearray(length)
        self._free += length + -length % _ALIGNED
        return self._view[begin : begin + length]

    def view(self, span: Span) -> memoryview:
        """Give what lies in a span."""
        return self._view[span[0] : span[1]]

    def find(self, octets: memoryview) -> Span | None:
        """Say where octets lie here."""
        begin = _address(octets) - self._address
        end = begin + octets.nbytes
        return (begin, end) if begin >= 0 and end <= len(self._view) else None

    def writer(self, number: int) -> Callable[[memoryview], Span | None]:
        """Give what copies octets to the slot of item `number`, as long as there is room."""
        at, end = self._slots[number % SLOTS]

        def copy(octets: memoryview) -> Span | None:
            nonlocal at
            begin, behind = at, at + octets.nbytes
            if behind > end:
                return None
            self._view[begin:behind] = octets
            at = behind + -behind % _ALIGNED
            return begin, behind

        return copy


class Apart(Generic[Item]):
    """The items of `source`, which only the fork touches; `close` must be called, then it is over."""

    def __init__(self, source: Iterable[Item], shared: Shared) -> None:
        """Raises OSError where no process can be made."""
        self._shared = shared
        (items, given), (taken, tokens) = os.pipe(), os.pipe()
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError:
            for descriptor in (items, given, taken, tokens):
                os.close(descriptor)
            raise
        if self._pid == 0:
            os.close(items)
            os.close(tokens)
            _be_maker(source, shared, given, taken, parent)
        os.close(given)
        os.close(taken)
        # Its number may be another's when it is gone, where somebody else waits for children too.
        self._maker = os.pidfd_open(self._pid)
        self._items, self._tokens = os.fdopen(items, "rb"), tokens
        self._is_open = True
        self._last: BaseException | None = None
        os.write(tokens, _TOKEN * (SLOTS - 1))

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        # Whoever asks again is told again.
        if self._last is not None:
            raise self._last
        with contextlib.suppress(BrokenPipeError):  # it is at its end already
            os.write(self._tokens, _TOKEN)
        try:
            spans: list[Span] = pickle.load(self._items)
            kind, item = pickle.load(self._items, buffers=map(self._shared.view, spans))
        except (EOFError, pickle.UnpicklingError) as error:
            self._last = ChildProcessError("the process that reads ahead has ended")
            raise self._last from error
        if kind == _ITEM:
            made: Item = item
            return made
        self._last = StopIteration()
        if kind == _ERROR:
            self._last, was = item
            self._last.__cause__ = RuntimeError(was)
        raise self._last

    def close(self) -> None:
        """End the process, wherever it is."""
        if self._is_open:
            self._is_open = False
            self._items.close()
            os.close(self._tokens)
            # It may be waiting for a pipe of which nobody knows when there will be more.
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                signal.pidfd_send_signal(self._maker, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            os.close(self._maker)


def _be_maker(source: Iterable[Any], shared: Shared, given: int, tokens: int, parent: int) -> NoReturn:
    """Make items, in the fork, until its end."""
    try:
        die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            # Ctrl-C is for the parent to act upon.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            with os.fdopen(given, "wb") as out, contextlib.suppress(BrokenPipeError):
                _make(source, shared, out, tokens)
    finally:
        # Nothing that the parent has begun (files, handlers) is the fork's to finish.
        os._exit(0)


def _make(source: Iterable[Any], shared: Shared, out: BinaryIO, tokens: int) -> None:
    items, number = iter(source), 0
    while os.read(tokens, 1):
        try:
            what = _ITEM, next(items)
        except StopIteration:
            what = _END, None
        except BaseException as error:
            # It is raised where the item is asked for.
            what = _ERROR, (error, traceback.format_exc())
        _write(what, shared, number, out)
        number += 1
        if what[0] != _ITEM:
            return


def _write(what: tuple[int, Any], shared: Shared, number: int, out: BinaryIO) -> None:
    spans: list[Span] = []
    copy = shared.writer(number)

    def place(buffer: pickle.PickleBuffer) -> bool:
        """Put a buffer into the memory of both; False if it is there."""
        octets = buffer.raw()
        span = shared.find(octets) or copy(octets)
        if span is not None:
            spans.append(span)
        return span is None

    pickled = BytesIO()
    _Pickler(pickled, protocol=5, buffer_callback=place).dump(what)
    pickle.dump(spans, out)
    out.write(pickled.getbuffer())
    out.flush()


class _Pickler(pickle.Pickler):
    """Pickles views of memory, too."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is memoryview:
            return memoryview, (pickle.PickleBuffer(value),)
        return NotImplemented


def _address(octets: memoryview) -> int:
    address: int = np.frombuffer(octets, np.uint8).__array_interface__["data"][0] if len(octets) else 0
    return address
