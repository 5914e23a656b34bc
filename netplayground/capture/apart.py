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

import os
import pickle
import signal
import threading
import traceback
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from io import BytesIO
from mmap import mmap
from typing import Any, BinaryIO, Generic, TypeVar

import numpy as np

from netplayground.sandbox.fork import fork, held_signals

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

    def allocate(self, length: int) -> memoryview:
        """Give memory that need not be copied, or if there is no more, any."""
        begin = self._free
        if begin + length > self._room:
            return memoryview(bytearray(length))
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
        self._last: BaseException | None = None
        with ExitStack() as kept:
            with held_signals(), ExitStack() as passing:
                self._start(source, kept, passing)
            os.write(self._tokens, _TOKEN * (SLOTS - 1))
            self._close = kept.pop_all().close

    def _start(self, source: Iterable[Item], kept: ExitStack, passing: ExitStack) -> None:
        """Make the process, a pipe from it and one to it."""
        items, given = _pipe(kept, passing)
        taken, tokens = _pipe(passing, kept)
        shared = self._shared

        def work() -> int:
            os.close(items)
            os.close(tokens)
            with os.fdopen(given, "wb", closefd=False) as out, suppress(BrokenPipeError):
                _make(source, shared, out, taken)
            return 0

        pid = fork(work)
        try:
            # Its number may be another's when it is gone, where somebody else waits for children too.
            maker = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            _wait(pid)
            raise
        kept.callback(os.close, maker)
        kept.callback(_end, pid, maker)
        self._items, self._tokens = os.fdopen(items, "rb", closefd=False), tokens

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        # Whoever asks again is told again.
        if self._last is not None:
            raise self._last
        with suppress(BrokenPipeError):  # it is at its end already
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
        del item  # else what is raised would be known to its own traceback
        raise self._last

    def close(self) -> None:
        """End the process, wherever it is."""
        self._close()
        # What was raised knows who raised it: the memory would stay until somebody looks for cycles.
        self._last = StopIteration()


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Give the ends of a pipe, which are closed with these."""
    reading, writing = os.pipe()
    reader.callback(os.close, reading)
    writer.callback(os.close, writing)
    return reading, writing


def _end(pid: int, maker: int) -> None:
    """End a fork. It may be waiting for a file of which nobody knows when there will be more."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(maker, signal.SIGKILL)
    _wait(pid)


def _wait(pid: int) -> None:
    with suppress(ChildProcessError):  # somebody else did
        os.waitpid(pid, 0)


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
    """Pickles views of memory, too, and arrays as what they are in memory."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is memoryview:
            return memoryview, (pickle.PickleBuffer(value),)
        if type(value) is array:
            return _array, (value.typecode, pickle.PickleBuffer(value))
        return NotImplemented


def _array(typecode: str, octets: memoryview) -> array[Any]:
    values = array(typecode)
    values.frombytes(octets)
    return values


def _address(octets: memoryview) -> int:
    address: int = np.frombuffer(octets, np.uint8).__array_interface__["data"][0] if len(octets) else 0
    return address
