"""Recordings for the tests of `plg diff`: a tape written anew, as it was or with one thing done otherwise."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from replay.faithful import NO_CHANGE, Change

from netplayground.dump.model import Connection, Ending, Endpoint, Process
from netplayground.replay.flows import Letter
from netplayground.replay.options import ReplayOptions
from netplayground.replay.tape import CHUNK, DATAGRAM, ESTABLISHED, FIN, RST, SYN, Outcome, Record, Tape
from netplayground.report.diff import Difference, compare
from netplayground.report.halves import make_halves


def difference(one: Tape, two: Tape, *ignore: bytes, **options: Any) -> Difference:
    """What a comparison of copies of two tapes comes to, for it changes them."""
    return compare(make_halves(altered(one), altered(two)), ReplayOptions(ignore=ignore, **options))


class _Writer:
    def __init__(self, processes: list[Process]) -> None:
        self.payload = bytearray()
        self.tape = Tape(processes, lambda at, size: bytes(self.payload[at : at + size]))

    def connect(self, client: int, server: int, port: int, outcome: Outcome) -> int:
        number = len(self.tape.records)
        ends = (
            Endpoint(IPv4Address(f"10.0.0.{client + 1}"), 40000 + number),
            Endpoint(IPv4Address(f"10.0.0.{server + 1}"), port),
        )
        summary = Connection(number, *ends, None, None, 0, None, None, (0, 0), (0, 0), Ending.OPEN, 0, 0)
        record = Record(number, summary, client, server)
        record.outcome = outcome
        self.tape.records.append(record)
        return number

    def add(self, number: int, code: int, time_ns: int, data: bytes = b"") -> None:
        offset = len(self.payload)
        self.payload += data
        self.tape.add(number, code, time_ns, offset, len(data))

    def post(self, tape: Tape, event: int) -> None:
        """Copy a datagram."""
        flow, side = tape.flow_of(event), tape.code[event] & 1
        payload = tape.read(tape.offset[event], tape.length[event])
        ends = flow.processes[side], flow.processes[1 - side]
        letter = Letter(tape.protocol_of(event), *ends, flow.group, *tape.ports_of(event), payload)
        version, offset = tape.version_of(event), len(self.payload)
        self.payload += payload
        self.tape.add_datagram(letter, version, tape.time[event], offset, len(payload))


def altered(tape: Tape, change: Change = NO_CHANGE) -> Tape:
    """A copy of a tape, on which one process does something else, as a recorder would have seen it."""
    writer = _Writer([life.process for life in tape.lives])
    copy = writer.tape
    for life, other in zip(tape.lives, copy.lives, strict=True):
        other.started_ns, other.ended_ns = life.started_ns, life.ended_ns
        other.was_ended_by_plg = life.was_ended_by_plg
    copy.mark_ns, copy.missing = tape.mark_ns, tape.missing
    numbers: dict[int, int] = {}
    for event in range(len(tape)):
        code, now = tape.code[event], tape.time[event]
        if code >= DATAGRAM:
            writer.post(tape, event)
            continue
        record = tape.records[tape.record[event]]
        if event == change.connects_before:
            number = writer.connect(record.processes[0], *change.to, Outcome.ACCEPTED)
            for each, data in ((SYN, b""), (ESTABLISHED, b""), (CHUNK, b"~")):
                writer.add(number, each, now, data)
        if event in change.omitted:
            continue
        if code == SYN:
            numbers[record.number] = writer.connect(*record.processes, record.port, record.outcome)
        data = tape.read(tape.offset[event], tape.length[event])
        data = change.says.get(event, bytes)(data)
        if record.number not in numbers or (code & ~1 == CHUNK and not data):
            continue
        if event in change.aborts | change.closes:
            code = (RST if event in change.aborts else FIN) | code & 1
        writer.add(numbers[record.number], code, now, data)
    return copy
