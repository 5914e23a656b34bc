"""Which recorded datagrams reached nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netplayground.dump.model import SERVER
from netplayground.packet import udp
from netplayground.replay.flows import ICMP, UDP, Letter
from netplayground.replay.refusals import Refusals
from netplayground.replay.tape import Tape

HERE, THERE = 0, 1
ADDRESSES = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
FROM, PORT = 40000, 7000


class Wire:
    """A tape of one flow with its errors."""

    def __init__(self) -> None:
        self.payload = bytearray()
        self.tape = Tape((), lambda offset, length: bytes(self.payload[offset : offset + length]))

    def put(self, letter: Letter) -> int:
        offset = len(self.payload)
        self.payload += letter.payload
        return self.tape.add_datagram(letter, 4, 0, offset, len(letter.payload))

    def ask(self, payload: bytes) -> int:
        return self.put(Letter(UDP, HERE, THERE, b"", FROM, PORT, payload))

    def answer(self, payload: bytes) -> int:
        return self.put(Letter(UDP, THERE, HERE, b"", PORT, FROM, payload))

    def refuse(self, payload: bytes) -> int:
        quoted = Letter(UDP, HERE, THERE, b"", FROM, PORT, payload)
        packet = udp.emit_packet(ADDRESSES[HERE], FROM, ADDRESSES[THERE], PORT, payload)
        error = b"\x03\x03" + bytes(6) + packet[:548]
        return self.put(Letter(ICMP, THERE, HERE, b"", 0, 0, error, quoted))

    def refused(self, *events: int) -> list[bool]:
        refusals = Refusals(self.tape)
        return [event in refusals for event in events]


def test_what_was_asked_before_the_server_was_up_reached_nobody() -> None:
    wire = Wire()
    early = wire.ask(b"there?")
    wire.refuse(b"there?")
    heard = wire.ask(b"there?")
    wire.answer(b"yes")
    assert wire.refused(early, heard) == [True, False]


def test_between_two_refusals_nobody_heard_either() -> None:
    """A kernel sends so many errors a second only (icmp(7), icmp_ratelimit)."""
    wire = Wire()
    first = wire.ask(b"1")
    wire.refuse(b"1")
    silent = [wire.ask(b"2"), wire.ask(b"3")]
    last = wire.ask(b"4")
    wire.refuse(b"4")
    assert wire.refused(first, *silent, last) == [True] * 4


def test_a_server_that_spoke_between_them_had_heard() -> None:
    wire = Wire()
    first = wire.ask(b"1")
    wire.refuse(b"1")
    heard = wire.ask(b"2")
    wire.answer(b"2")
    last = wire.ask(b"3")
    wire.refuse(b"3")
    assert wire.refused(first, heard, last) == [True, False, True]


def test_of_many_under_way_the_one_that_is_quoted_was_refused() -> None:
    wire = Wire()
    events = [wire.ask(bytes([number])) for number in range(5)]
    wire.refuse(b"\x03")
    assert wire.refused(*events) == [False, False, False, True, False]


def test_a_side_that_says_nothing_but_errors_perhaps_never_listened() -> None:
    wire = Wire()
    wire.ask(b"1")
    wire.refuse(b"1")
    flow = wire.tape.flows.all[0]
    assert Refusals(wire.tape).is_deaf(flow, SERVER)
    wire.answer(b"now")
    assert not Refusals(wire.tape).is_deaf(flow, SERVER)


@given(st.binary(max_size=64))
def test_a_quotation_of_anything_is_no_fault(quotation: bytes) -> None:
    wire = Wire()
    events = wire.ask(b"1"), wire.answer(b"2")
    quoted = Letter(UDP, HERE, THERE, b"", FROM, PORT, b"1")
    wire.put(Letter(ICMP, THERE, HERE, b"", 0, 0, b"\x03\x03" + bytes(6) + quotation, quoted))
    assert wire.refused(events[1]) == [False]
