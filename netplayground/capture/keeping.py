"""What is kept of ordinary connections from batch to batch: they begin, they go on, they are closed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netplayground.capture.columns import Array, Columns
from netplayground.capture.lives import Lives
from netplayground.capture.ordinary import Ordinary
from netplayground.capture.runs import Rows
from netplayground.capture.stream import AHEAD_MOST
from netplayground.dump import segments
from netplayground.dump.bulk import RECORDS
from netplayground.dump.index import ENDING_CODE
from netplayground.dump.ledger import SEQUENCE_STEP
from netplayground.dump.model import Ending
from netplayground.dump.writer import DumpWriter
from netplayground.packet import ip
from netplayground.packet.tcp import ACK, FIN

_CLOSED = 3


def begin(lives: Lives, slots: Array, first: tuple[int, int, int], ranks: Array) -> None:
    """Give new connections their ids and sequence numbers, those of `ranks` among all that were reserved."""
    identity, client, server = first
    singles, pairs = lives.singles, lives.pairs
    ids = identity + ranks
    singles["id"][slots] = ids
    singles["sum"][slots] = np.where(
        lives.is_v4[slots], _v4_sums(lives, slots, ids), 6 << 28 | ids & segments.V6_ID_MASK
    )
    turn = lives.turn[slots]
    for number, side in ((client, turn), (server, 1 - turn)):
        initial = number + 2 * SEQUENCE_STEP * ranks & 0xFFFFFFFF
        pairs["shift"][slots, side] = initial - pairs["isn"][slots, side]


def _v4_sums(lives: Lives, slots: Array, ids: Array) -> Array:
    """Give the sums of IPv4 headers without their lengths (see `segments.v4_constants`)."""
    addresses = np.ascontiguousarray(lives.words[slots, 0, :2]).view(">u2").astype(np.int64).sum(axis=1)
    total = addresses + 0x4500 + 0x4000 + (ip.HOP_LIMIT << 8 | ip.TCP) + (ids & segments.V4_ID_MASK)
    sums: Array = total % 65535
    return sums


def go_on(columns: Columns, rows: Rows, lives: Lives, ordinary: Ordinary) -> None:
    """Note what has been said in a batch."""
    slots, low, last = ordinary.slots, ordinary.low, ordinary.high - 1
    singles, pairs = lives.singles, lives.pairs
    new = ordinary.is_new
    singles["opened"][slots[new]] = columns.time[rows.row[low[new]]]
    singles["established"][slots[new]] = columns.time[rows.row[low[new] + 1]]
    singles["last"][slots] = columns.time[rows.row[last]]
    lives.fins[slots] = ordinary.fins
    chunks = rows.length > 0
    for side in (0, 1):
        mine = rows.side == side
        pairs["said"][slots, side] += ordinary.said[:, side]
        answered = ordinary.said[:, 1 - side] > 0
        owed = np.where(answered, 0, pairs["owed"][slots, side])
        pairs["owed"][slots, side] = owed + ordinary.said[:, side]
        pairs["chunks"][slots, side] += _per_group(chunks & mine, ordinary)
        pairs["segments"][slots, side] += _per_group(mine, ordinary)
        at = rows.last[side][last]
        spoke = at >= low
        pairs["next"][slots, side] = np.where(spoke, rows.after[at], ordinary.next[:, side])
        heard = pairs["acked"][slots, 1 - side]
        # A SYN acknowledges nothing.
        spoke &= rows.flags[at] & ACK != 0
        ack = columns.ack[rows.row[at]]
        # One that comes late, or from nowhere, takes nothing back.
        more = (ack - heard.astype(np.uint32)).view(np.int32)
        spoke &= (heard < 0) | ((more > 0) & (more <= AHEAD_MOST))
        pairs["acked"][slots, 1 - side] = np.where(spoke, ack, heard)


def _per_group(rows: Array, ordinary: Ordinary) -> Array:
    counted = np.append(0, np.cumsum(rows))
    count: Array = counted[ordinary.high] - counted[ordinary.low]
    return count


@dataclass(slots=True)
class Closed:
    """Connections that were closed in a batch: their records, but for where their blocks are; and where the
    last block of each stands among the batch's rows."""

    slots: Array
    last: Array
    records: Array


def close(columns: Columns, rows: Rows, lives: Lives, ordinary: Ordinary) -> Closed:
    """Note which connections have been closed."""
    which = np.flatnonzero(ordinary.fins == _CLOSED)
    slots = ordinary.slots[which]
    # The last block of each is its second FIN.
    fins = np.maximum.accumulate(np.where(rows.flags & FIN != 0, np.arange(len(rows.row)), -1))
    last = fins[ordinary.high[which] - 1]
    singles, pairs = lives.singles, lives.pairs
    singles["closed"][slots] = columns.time[rows.row[last]]
    records = np.zeros(len(slots), RECORDS)
    records["ending"] = ENDING_CODE[Ending.CLOSED]
    records["family"] = np.where(lives.is_v4[slots], 4, 6)
    for name in ("id", "opened", "established", "closed"):
        records[name] = singles[name][slots]
    turn = lives.turn[slots]
    for name in ("said", "chunks"):
        for role, side in ((0, turn), (1, 1 - turn)):
            records[name][:, role] = pairs[name][slots, side]
    _enter_ends(records, lives, slots, turn)
    lives.close(slots)
    return Closed(slots, last, records)


class Firsts:
    """Where in the dump each slot's first block is: known when a batch has been written."""

    def __init__(self) -> None:
        self._places = np.zeros(0, np.int64)

    def of(self, slots: Array) -> Array:
        """Give the places of some slots."""
        places: Array = self._places[slots]
        return places

    def enter(self, slots: Array, first: Array, closed: Closed, block: Array, writer: DumpWriter) -> None:
        """Note where new connections begin, and enter those that were closed into the index; `block` is where
        the last block of each position begins, `first` the positions of the new ones' SYNs."""
        if len(slots) and slots.max() >= len(self._places):
            grown = np.zeros(2 * int(slots.max()) + 2, np.int64)
            grown[: len(self._places)] = self._places
            self._places = grown
        self._places[slots] = block[first]
        if len(closed.slots):
            records = closed.records
            records["first"], records["last"] = self._places[closed.slots], block[closed.last]
            said = records["said"].astype(np.int64).sum(axis=0).tolist()
            writer.closed(records["id"].tolist(), records.tobytes(), (said[0], said[1]))


def _enter_ends(record: Array, lives: Lives, slots: Array, turn: Array) -> None:
    """Enter addresses and ports: the key of the client's packets has them in this order."""
    octets = np.ascontiguousarray(lives.words[slots, turn]).view(np.uint8)
    for four, width in ((True, 4), (False, 16)):
        rows = np.flatnonzero(lives.is_v4[slots] == four)
        for name, at in (("client", 0), ("server", width)):
            address = np.zeros((len(rows), 16), np.uint8)
            address[:, :width] = octets[rows, at : at + width]
            record[name][rows] = address.view("V16")[:, 0]
        for name, at in (("client_port", 2 * width), ("server_port", 2 * width + 2)):
            record[name][rows] = np.ascontiguousarray(octets[rows, at : at + 2]).view(">u2")[:, 0]
