"""The short way for whole batches: connections that are in order are never looked at packet by packet.

1. `columns` decodes the batch, `runs` sorts its rows by connection into runs and odd rows.
2. Both are taken in the order of the capture. An odd row goes through the reassembler as any packet does. A
   run is accepted if its connection is plain (nothing waits, nobody has finished) and each side's first row
   is the next that is expected: then it is only counted. Else it is taken row by row.
3. The chunks of all accepted runs are packed at once (`packing`) and written in the order of the capture,
   with the events of the odd rows (`script`) between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop

import numpy as np

from netplayground.capture.columns import Array, Columns, decode
from netplayground.capture.connection import Connection
from netplayground.capture.memory import Memory
from netplayground.capture.network import turned
from netplayground.capture.packing import Accepted, Packed, Pass
from netplayground.capture.reassembly import Reassembler
from netplayground.capture.records import Batch
from netplayground.capture.runs import Runs, sort_runs
from netplayground.capture.script import Action, Script
from netplayground.capture.telling import Clock, Teller, Told
from netplayground.dump.model import CLIENT, SERVER
from netplayground.dump.writer import DumpWriter

LEAST = 32
"""A batch of fewer packets is sooner taken one by one."""
_REMEMBERED = 8
"""Of so many batches it is known where in the dump their chunks are."""
_OTHER, _ODD, _RUN = range(3)
_WIDTH = 13

TakePacket = Callable[[int, int, int], None]
"""Takes link type, begin and end of a packet that goes the other way."""


class Batches:
    """Takes whole batches."""

    def __init__(
        self, reassembler: Reassembler, script: Script, teller: Teller, writer: DumpWriter, clock: Clock
    ) -> None:
        self._reassembler = reassembler
        self._script = script
        self._teller = teller
        self._writer = writer
        self._clock = clock
        self._taken = -1
        self._room = bytearray()
        self._memories: deque[Memory] = deque(maxlen=_REMEMBERED)
        script.memory = self._recall

    def take(self, batch: Batch, other: TakePacket) -> int | None:
        """Take a batch; give how many segments were decoded here, None if the batch cannot be taken."""
        columns = decode(batch) if len(batch.heads) >= LEAST else None
        if columns is None:
            return None
        np.maximum(columns.time, self._clock.now, out=columns.time)
        np.maximum.accumulate(columns.time, out=columns.time)
        runs = sort_runs(columns)
        accepted: list[Accepted] = []
        if runs is not None:
            self._memories.append(Memory(runs, columns))
        self._decide(columns, runs, accepted, other)
        self._write(columns, runs, accepted)
        self._clock.now = int(columns.time[-1])
        return int(np.count_nonzero(columns.is_usual))

    def _recall(self, connection: Connection, side: int, sequence: int, length: int) -> bytes | None:
        self._writer.flush()
        for memory in reversed(self._memories):
            found = memory.recall(connection, side, sequence, length, self._writer.fileno())
            if found is not None:
                return found
        told = connection.told
        if not isinstance(told, Told):
            return None
        return told.recall(self._writer.fileno(), side, sequence, length)

    # -- 2: in the order of the capture ------------------------------------------------------------

    def _decide(
        self, columns: Columns, runs: Runs | None, accepted: list[Accepted], other: TakePacket
    ) -> None:
        script, reassembler, buffer = self._script, self._reassembler, columns.octets.data
        self._taken = -1
        items, rows = iter(_items(columns, runs)), list[list[int]]()
        item = next(items, None)
        while item is not None or rows:
            if item is None or (rows and rows[0] < item):
                at, _time, kind, number, *facts = heappop(rows)
            else:
                at, _time, kind, number, *facts = item
                item = next(items, None)
            self._go_to(columns, at)
            script.at = at
            if kind == _OTHER:
                other(*facts[:3])
                continue
            assert runs is not None
            key = runs.keys[number]
            if kind == _ODD:
                side, sequence, ack, flags, begin, end, *_ = facts
                reassembler.segment(turned(key) if side else key, sequence, ack, flags, buffer[begin:end])
            elif not self._accept(at, key, facts, accepted):
                rows += _rows(columns, runs, facts[-1])
                heapify(rows)
        self._go_to(columns, len(columns.time) - 1)

    def _go_to(self, columns: Columns, at: int) -> None:
        """Packet `at` is next: let the reassembler do what is due before, each when it is due."""
        reassembler, times = self._reassembler, columns.time
        while due := reassembler.next_due:
            by_count = due[1] - reassembler.count + self._taken
            if by_count > at or due[0] > times[at]:
                break
            self._script.at = when = max(by_count, int(np.searchsorted(times, due[0])), self._taken)
            reassembler.advance(int(times[when]), when - self._taken)
            self._taken = when
        if at > self._taken:
            reassembler.advance(int(times[at]), at - self._taken)
            self._taken = at

    def _accept(self, at: int, key: bytes, facts: list[int], accepted: list[Accepted]) -> bool:
        found = self._reassembler.find(key)
        if found is None:
            return False
        first, other_first, said, other_said, ack, other_ack, rows, other_rows, run = facts
        connection, turn = found
        if turn:
            was = connection.accept(other_first, first, other_said, said, other_ack, ack, other_rows, rows)
        else:
            was = connection.accept(first, other_first, said, other_said, ack, other_ack, rows, other_rows)
        if was is None:
            return False
        before = (was[1], was[0]) if turn else was
        taken = Accepted(run, at, connection, turn ^ connection.client, before, (said, other_said))
        accepted.append(taken)
        self._memories[-1].note(connection, run, taken.turn)
        return True

    # -- 3: in the dump ----------------------------------------------------------------------------

    def _write(self, columns: Columns, runs: Runs | None, accepted: list[Accepted]) -> None:
        actions = self._script.take()
        for _, tell, arguments in actions:
            if tell == self._teller.opened:
                self._teller.prepare(*arguments)
        if runs is None:
            self._tell(columns, actions)
            return
        packed = Packed(columns, runs, accepted, self._room)
        self._tell_between(columns, actions, packed)
        self._memories[-1].settle(packed.places(len(runs.rows)))

    def _tell(self, columns: Columns, actions: list[Action]) -> None:
        for (_, tell, arguments), time in zip(actions, _times(columns, actions), strict=True):
            self._clock.now = max(time, self._clock.now)
            tell(*arguments)
        self._teller.commit_datagrams()

    def _tell_between(self, columns: Columns, actions: list[Action], packed: Packed) -> None:
        """Tell actions between chunks, in the order of the capture."""
        clock, writer, commit = self._clock, self._writer, self._teller.commit_datagrams
        cuts = np.searchsorted(packed.rows, [action[0] for action in actions]).tolist()
        passes = [*packed.passes][::-1]
        for (at, tell, arguments), time, cut in zip(actions, _times(columns, actions), cuts, strict=True):
            while passes and passes[-1].at < at:
                self._pass(columns, packed, passes.pop())
            if cut > packed.done:
                commit()
                packed.write(writer, cut)
            clock.now = max(time, clock.now)
            tell(*arguments)
        while passes:
            self._pass(columns, packed, passes.pop())
        commit()
        packed.write(writer, len(packed.rows))

    def _pass(self, columns: Columns, packed: Packed, each: Pass) -> None:
        """Count in a connection's writer what is in the blocks; it may have to acknowledge some of it."""
        if each.is_long:
            self._teller.commit_datagrams()
            packed.write(self._writer, int(np.searchsorted(packed.rows, each.at)))
            self._clock.now = max(int(columns.time[each.at]), self._clock.now)
        for side in (CLIENT, SERVER):
            if each.bytes[side]:
                each.writer.passed(side, each.bytes[side], each.chunks[side])


def _times(columns: Columns, actions: list[Action]) -> list[int]:
    times: list[int] = columns.time[[action[0] for action in actions]].tolist() if actions else []
    return times


def _items(columns: Columns, runs: Runs | None) -> list[list[int]]:
    """Give runs, odd rows and other packets in the order of the capture: packet, time, what it is, number of
    its connection, and nine facts, which are others for each."""
    others = np.flatnonzero(~columns.is_usual)
    tables = [_others(columns, others)]
    if runs is not None:
        odd = np.flatnonzero(runs.is_odd)
        tables += [_odd(columns, runs, odd), _plain(columns, runs, np.flatnonzero(~runs.is_odd))]
    table = np.concatenate(tables)
    items: list[list[int]] = table[np.argsort(table[:, 0], kind="stable")].tolist()
    return items


def _table(columns: Columns, kind: int, rows: Array, *fields: Array) -> Array:
    table = np.zeros((len(rows), _WIDTH), np.int64)
    table[:, 0], table[:, 1], table[:, 2] = rows, columns.time[rows], kind
    for number, field in enumerate(fields, 3):
        table[:, number] = field
    return table


def _others(columns: Columns, rows: Array) -> Array:
    nobody = np.zeros(len(rows), np.int64)
    places = (columns.link_type[rows], columns.data[rows], columns.end[rows])
    return _table(columns, _OTHER, rows, nobody, *places)


def _odd(columns: Columns, runs: Runs, which: Array) -> Array:
    return _table_of_rows(columns, runs, runs.low[which], runs.connection[which])


def _table_of_rows(columns: Columns, runs: Runs, at: Array, connection: Array) -> Array:
    rows = runs.rows[at]
    begin = columns.begin[rows]
    said = (
        columns.sequence[rows],
        columns.ack[rows],
        columns.flags[rows],
        begin,
        begin + columns.length[rows],
    )
    return _table(columns, _ODD, rows, connection, runs.side[at], *said)


def _rows(columns: Columns, runs: Runs, run: int) -> list[list[int]]:
    """Give the rows of a run that was not accepted, as odd ones."""
    at = np.arange(int(runs.low[run]), int(runs.high[run]))
    items: list[list[int]] = _table_of_rows(columns, runs, at, runs.connection[run]).tolist()
    return items


def _plain(columns: Columns, runs: Runs, which: Array) -> Array:
    rows = runs.rows[runs.low[which]]
    pairs = (runs.first, runs.said, runs.ack, runs.count)
    facts = [each[which] for pair in pairs for each in pair]
    return _table(columns, _RUN, rows, runs.connection[which], *facts, which)
