"""The short way for whole batches: what is in order is never looked at packet by packet.

1. `columns` decodes the batch, `runs` sorts its rows by connection.
2. `ordinary` finds the connections of which all rows in the batch are as they should be: these are done with,
   column by column. The others' rows are runs, which are in order in themselves, and odd rows.
3. Those are taken in the order of the capture. An odd row goes through the reassembler as any packet does. A
   run is accepted if its connection is plain (nothing waits, nobody has finished) and each side's first row
   is the next that is expected: then it is only counted. Else it is taken row by row.
4. The segments of ordinary connections and of accepted runs are packed at once (`packing`) and written in the
   order of the capture, with the events of the odd rows (`script`) between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop
from operator import itemgetter

import numpy as np

from netplayground.capture.ahead import Behind
from netplayground.capture.columns import Array, Columns, decode
from netplayground.capture.connection import Connection
from netplayground.capture.items import ODD, OTHER, Work, list_items, rows_of_run
from netplayground.capture.keeping import Closed, Firsts, begin, close, go_on
from netplayground.capture.lives import Lives
from netplayground.capture.memory import Memory
from netplayground.capture.network import turned
from netplayground.capture.ordinary import find_ordinary
from netplayground.capture.packing import Accepted, Packed, Pass
from netplayground.capture.reassembly import Reassembler
from netplayground.capture.records import Batch
from netplayground.capture.runs import Directions, find_directions, find_runs, sort_rows
from netplayground.capture.script import Action, Script
from netplayground.capture.strange import find_strange
from netplayground.capture.telling import Clock, Teller, Told
from netplayground.dump.ledger import SEQUENCE_STEP
from netplayground.dump.model import CLIENT, SERVER
from netplayground.dump.writer import DumpWriter

LEAST = 32
"""A batch of fewer packets is sooner taken one by one."""
_TIMES_MORE = 4
"""Ordinary connections take so much less memory than others that there may be so many times more of them."""
_RELEASED_AT_ONCE = 1 << 12
_REMEMBERED = 8
"""Of so many batches it is known where in the dump their chunks are."""

TakePacket = Callable[[int, int, int], None]
"""Takes link type, begin and end of a packet that goes the other way."""


Prepared = tuple[Columns, Directions | None, frozenset[bytes]]


def prepare(batch: Batch, least: int = LEAST) -> Prepared | None:
    """Do for a batch what depends on no other, None if it cannot be taken as a whole."""
    columns = decode(batch) if len(batch.heads) >= least else None
    return None if columns is None else (columns, find_directions(columns), find_strange(columns))


class Batches:
    """Takes whole batches."""

    def __init__(
        self,
        reassembler: Reassembler,
        script: Script,
        teller: Teller,
        writer: DumpWriter,
        clock: Clock,
        behind: Behind,
    ) -> None:
        self._reassembler = reassembler
        self._script = script
        self._teller = teller
        self._writer = writer
        self._clock = clock
        self._lives = Lives(reassembler, teller)
        self._taken = -1
        self._room = bytearray()
        self._now = 0
        self._behind = behind
        self._firsts = Firsts()
        self._memories: deque[Memory] = deque(maxlen=_REMEMBERED)
        script.memory = self._recall

    def prepare(self, batch: Batch) -> Prepared | None:
        """Prepare a batch that nobody has: one of few packets, too, where there are ordinary connections that
        it may belong to."""
        least = 1 if self._lives.is_used.any() else LEAST
        return prepare(batch, least)

    def take(self, prepared: Prepared, other: TakePacket) -> int:
        """Take a batch; give how many segments were decoded here."""
        columns, directions, strange = prepared
        self._now = max(self._now, self._clock.now)
        np.maximum(columns.time, self._now, out=columns.time)
        np.maximum.accumulate(columns.time, out=columns.time)
        self._now = int(columns.time[-1])
        self._script.at = 0
        self._let_go()
        self._release(self._lives.find_strange(strange))
        work = self._sort_out(columns, directions, strange) if directions is not None else None
        self._decide(columns, work, other)
        self._write(columns, work)
        return int(np.count_nonzero(columns.is_usual))

    def _recall(self, connection: Connection, side: int, sequence: int, length: int) -> bytes | None:
        self._behind.wait()
        self._writer.flush()
        told = connection.told
        identity = told.writer.id if isinstance(told, Told) else -1
        for memory in reversed(self._memories):
            found = memory.recall(connection, identity, side, sequence, length, self._writer.fileno())
            if found is not None:
                return found
        if not isinstance(told, Told):
            return None
        return told.recall(self._writer.fileno(), side, sequence, length)

    def wait(self) -> None:
        """Wait until all that was taken is written."""
        self._behind.wait()
        self._clock.now = max(self._now, self._clock.now)

    def close(self) -> None:
        """Stop the thread that writes."""
        self._behind.close()

    def finish(self) -> None:
        """The capture is over: ordinary connections are handed to the reassembler, which ends them."""
        self.wait()
        live = np.flatnonzero(self._lives.is_used & ~self._lives.is_over)
        for at in range(0, len(live), _RELEASED_AT_ONCE):
            self._release(live[at : at + _RELEASED_AT_ONCE])
            # Of those that the reassembler has no room for there is nothing to keep.
            self._script.perform()

    # -- 2: what is ordinary -----------------------------------------------------------------------

    def _let_go(self) -> None:
        """Give up connections that are too many."""
        silent = self._lives.find_silent(_TIMES_MORE * self._reassembler.limits.connections)
        for connection in self._release(silent):
            self._reassembler.forget(connection)

    def _release(self, slots: Array) -> list[Connection]:
        if not len(slots):
            return []
        self._behind.wait()
        places = zip(slots.tolist(), self._firsts.of(slots).tolist(), strict=True)
        return [self._lives.release(slot, first) for slot, first in places]

    def _sort_out(self, columns: Columns, directions: Directions, strange: frozenset[bytes]) -> Work:
        lives = self._lives
        rows = sort_rows(columns, directions, lives)
        ordinary = find_ordinary(columns, rows, lives, self._reassembler, strange)
        # Sorted as they are, each stands once where it begins (and np.unique would import numpy.ma).
        odd = rows.connection[ordinary.of < 0]
        odd = odd[(np.diff(odd, prepend=-1) > 0) & (odd < rows.unknown)]
        keys = {slot: lives.key(slot) for slot in odd.tolist()}
        self._release(odd)
        self._memories.append(Memory(rows, columns))
        return Work(rows, find_runs(columns, rows, strange), ordinary, [], keys)

    # -- 3: in the order of the capture ------------------------------------------------------------

    def _decide(self, columns: Columns, work: Work | None, other: TakePacket) -> None:
        reassembler, buffer = self._reassembler, columns.octets.data
        self._taken = -1
        items, rows = iter(list_items(columns, work)), list[list[int]]()
        item = next(items, None)
        while item is not None or rows:
            if item is None or (rows and rows[0] < item):
                at, _time, kind, number, *facts = heappop(rows)
            else:
                at, _time, kind, number, *facts = item
                item = next(items, None)
            self._go_to(columns, at)
            if kind == OTHER:
                other(*facts[:3])
                continue
            assert work is not None
            key = work.key(number)
            if kind == ODD:
                side, sequence, ack, flags, begin, end, *_ = facts
                reassembler.segment(turned(key) if side else key, sequence, ack, flags, buffer[begin:end])
            elif not self._accept(at, key, facts, work):
                rows += rows_of_run(columns, work, facts[-1])
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
        self._script.at = at
        if at > self._taken:
            reassembler.advance(int(times[at]), at - self._taken)
            self._taken = at

    def _accept(self, at: int, key: bytes, facts: list[int], work: Work) -> bool:
        found = self._reassembler.find(key)
        if found is None:
            return False
        first, other_first, said, other_said, ack, other_ack, rows, other_rows, end, run = facts
        connection, turn = found
        if turn:
            was = connection.accept(other_first, first, other_said, said, other_ack, ack, other_rows, rows)
        else:
            was = connection.accept(first, other_first, said, other_said, ack, other_ack, rows, other_rows)
        if was is None:
            return False
        before = (was[1], was[0]) if turn else was
        # It speaks until then: nobody must take it for silent before.
        connection.last = end
        taken = Accepted(run, at, connection, turn ^ connection.client, before, (said, other_said))
        work.accepted.append(taken)
        low, high = int(work.runs.low[run]), int(work.runs.high[run])
        self._memories[-1].note(connection, low, high, taken.turn)
        return True

    # -- 4: in the dump ----------------------------------------------------------------------------

    def _write(self, columns: Columns, work: Work | None) -> None:
        """Number what has begun and note what was said; packing and writing it is left to a thread."""
        actions = self._number(self._script.take(), work)
        if work is None:
            self._behind.do(self._tell, columns, actions)
            return
        rows, ordinary, lives = work.rows, work.ordinary, self._lives
        packed = Packed(columns, rows, work.runs, work.accepted, ordinary, lives)
        slots = ordinary.slots
        memory = self._memories[-1]
        memory.enter(lives.singles["id"][slots], ordinary.low, ordinary.high, lives.turn[slots])
        go_on(columns, rows, lives, ordinary)
        closed = close(columns, rows, lives, ordinary)
        new = np.flatnonzero(ordinary.is_new)
        begun = slots[new], ordinary.low[new]
        self._behind.do(self._tell_all, columns, actions, packed, memory, begun, closed)

    def _tell_all(
        self,
        columns: Columns,
        actions: list[Action],
        packed: Packed,
        memory: Memory,
        begun: tuple[Array, Array],
        closed: Closed,
    ) -> None:
        """Pack and write a batch: in the thread, while the next is worked at."""
        packed.pack(self._room)
        self._tell_between(columns, actions, packed)
        payload, block = packed.places(memory.count)
        memory.settle(payload)
        self._firsts.enter(*begun, closed, block, self._writer)

    def _number(self, actions: list[Action], work: Work | None) -> list[Action]:
        """Give all connections that have begun their ids, in the order of their beginnings, and add to the
        actions what is to be told of new addresses."""
        opened = self._teller.opened
        begun = [(at, arguments[0]) for at, tell, arguments in actions if tell == opened]
        new = np.flatnonzero(work.ordinary.is_new) if work else np.zeros(0, np.int64)
        rows = work.rows.row[work.ordinary.low[new]] if work else new
        first = self._writer.reserve(len(begun) + len(new))
        numbers = np.array([at for at, _ in begun], np.int64)
        # Nothing begins with the packet with which something else begins, but what was held until then.
        order = np.argsort(np.concatenate([numbers, rows]), kind="stable")
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        for (_, connection), rank in zip(begun, ranks[: len(begun)].tolist(), strict=True):
            step = 2 * SEQUENCE_STEP * rank
            sequences = [number + step & 0xFFFFFFFF for number in first[1:]]
            self._teller.prepare(connection, (first[0] + rank, sequences[0], sequences[1]))
        if work is None or not len(new):
            return actions
        slots = work.ordinary.slots[new]
        begin(self._lives, slots, first, ranks[len(begun) :])
        actions += self._meet(slots.tolist(), rows.tolist())
        actions.sort(key=itemgetter(0))
        return actions

    def _meet(self, slots: list[int], rows: list[int]) -> list[Action]:
        """Give the actions that tell who is new."""
        actions: list[Action] = []
        lives, teller, met = self._lives, self._teller, set[bytes]()
        for row, slot in sorted(zip(rows, slots, strict=True)):
            key = lives.key(slot)
            half = (len(key) - 4) // 2
            ends, ports = (key[:half], key[half : 2 * half]), (key[-4:-2], key[-2:])
            server = 0 if lives.turn[slot] else 1
            self._reassembler.note_server(ends[server], ports[server])
            if any(end not in met and not teller.knows(end) for end in ends):
                met.update(ends)
                actions.append((row, teller.meet, (ends[1 - server], ends[server])))
        return actions

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
