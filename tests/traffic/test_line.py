"""A line to a real TCP connection over loopback, one event batch at a time: what lies in the file the process
hears, what it does is told once and in order."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netplayground.errors import DumpError
from netplayground.traffic.line import Line
from netplayground.traffic.loop import Loop
from netplayground.traffic.pipe import END_EVENTS, Workspace
from netplayground.traffic.sockets import new_socket

_DEADLINE_S = 20.0
_MIB = 1 << 20
_PIECE = 1 << 16  # as long as the chunks of a dump get


class Hearer:
    """A listener that remembers what it was told; `answers` is called for each, from within."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.bytes = bytearray()
        self.answers: dict[str, Callable[[], None]] = {}
        self.is_asking = False  # within a call of ours to the line

    def said(self, data: memoryview) -> None:
        self.bytes += data
        if self.told[-1:] != ["said"]:
            self._hear("said")
        else:
            self._answer("said")

    def fin(self) -> None:
        self._hear("fin")

    def reset(self) -> None:
        self._hear("reset")

    def drained(self) -> None:
        self._hear("drained")

    def closed(self) -> None:
        self._hear("closed")

    def _hear(self, what: str) -> None:
        assert not self.is_asking, f"{what} from within a call of the listener's"
        self.told.append(what)
        self._answer(what)

    def _answer(self, what: str) -> None:
        if what in self.answers:
            self.answers[what]()


class Table:
    """A process's socket, and the line at its other end; `serve` turns the loop until something holds."""

    def __init__(self, folder: Path, is_registered: bool = True) -> None:
        self.loop = Loop()
        self.file = os.open(folder / "tape", os.O_RDWR | os.O_CREAT)
        self.process, near = _connected_pair()
        self.hearer = Hearer()
        self.over = 0
        self.line = Line(Workspace(self.loop, self.file), near, self.hearer, self._on_over)
        if is_registered:
            self.register()

    def register(self) -> None:
        self.loop.add(self.line.sock.fileno(), END_EVENTS, self.line.on_events)

    def write(self, data: bytes) -> int:
        """Add to the tape's file; where it lies."""
        offset = os.lseek(self.file, 0, os.SEEK_END)
        os.write(self.file, data)
        return offset

    def give(self, data: bytes) -> bool:
        """Give bytes as a listener does, which may not be called back meanwhile."""
        return self.give_at(self.write(data), len(data))

    def give_at(self, offset: int, length: int) -> bool:
        self.hearer.is_asking = True
        try:
            return self.line.give(offset, length)
        finally:
            self.hearer.is_asking = False

    def ask(self, what: Callable[[], None]) -> None:
        self.hearer.is_asking = True
        what()
        self.hearer.is_asking = False

    def serve(self, holds: Callable[[], bool]) -> None:
        """Turn the loop until `holds()`; fail when that does not come true."""
        deadline = time.monotonic() + _DEADLINE_S

        def look() -> None:
            if holds():
                self.loop.stop()
            else:
                assert time.monotonic() < deadline, self.hearer.told
                self.loop.call_after(0.001, look)

        look()
        self.loop.run()

    def turn(self, rounds: int = 3) -> None:
        """Turn the loop a few rounds: all that is ready or put off has its turn."""
        for _ in range(rounds):
            self.loop.again(self.loop.stop)
            self.loop.run()

    def hear(self, length: int) -> bytes:
        """What the process has been given, once it is `length` bytes."""
        heard = bytearray()

        def read() -> bool:
            with contextlib.suppress(BlockingIOError):
                while len(heard) < length:
                    heard.extend(self.process.recv(_MIB))
            return len(heard) >= length

        self.serve(read)
        return bytes(heard)

    def _on_over(self, line: Line) -> None:
        assert line is self.line
        self.over += 1

    def close(self) -> None:
        self.loop.close()
        self.process.close()
        self.line.sock.close()
        os.close(self.file)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    laid = Table(tmp_path)
    yield laid
    laid.close()


def test_what_is_given_the_process_hears_and_what_it_says_is_told(table: Table) -> None:
    assert not table.give(b"hello")
    assert table.hear(5) == b"hello"
    table.process.send(b"and you")
    table.serve(lambda: table.hearer.bytes == b"and you")
    assert table.hearer.told == ["said"]


def test_what_came_before_the_descriptor_was_registered_is_told(tmp_path: Path) -> None:
    table = Table(tmp_path, is_registered=False)
    table.process.send(b"early")
    table.process.shutdown(socket.SHUT_WR)
    table.register()
    table.serve(lambda: table.hearer.told == ["said", "fin"])
    assert table.hearer.bytes == b"early"
    table.close()


def test_what_was_given_before_the_descriptor_was_registered_goes_on(tmp_path: Path) -> None:
    table = Table(tmp_path, is_registered=False)
    data = os.urandom(_PIECE)
    offset = table.write(data)
    pieces = _give_until_full(table, offset)
    table.register()
    assert table.hear(pieces * _PIECE) == data * pieces
    table.serve(lambda: table.hearer.told == ["drained"])
    table.close()


def test_bytes_and_fin_that_come_together_are_told_both(table: Table) -> None:
    table.process.send(b"last words")
    table.process.shutdown(socket.SHUT_WR)
    table.serve(lambda: "fin" in table.hearer.told)
    assert (table.hearer.told, bytes(table.hearer.bytes)) == (["said", "fin"], b"last words")
    assert table.line.fin_seen
    assert not table.line.is_closed


def test_more_than_a_turn_of_bytes_and_fin_come_whole(table: Table) -> None:
    data = os.urandom(8 * _MIB)
    sent = 0

    def send_on() -> bool:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += table.process.send(memoryview(data)[sent : sent + 3 * _MIB])
            if sent == len(data):
                table.process.shutdown(socket.SHUT_WR)
                sent += 1
        return "fin" in table.hearer.told

    table.serve(send_on)
    assert table.hearer.bytes == data
    assert table.hearer.told == ["said", "fin"]


@pytest.mark.parametrize("process_first", [True, False])
def test_a_connection_that_both_have_closed_is_told_to_be_closed_once(
    table: Table, process_first: bool
) -> None:
    if process_first:
        table.process.shutdown(socket.SHUT_WR)
        table.serve(lambda: table.hearer.told == ["fin"])
        table.ask(table.line.fin)
    else:
        table.ask(table.line.fin)
        table.serve(lambda: _is_at_end(table.process))
        assert table.hearer.told == []
        table.process.shutdown(socket.SHUT_WR)
    table.serve(lambda: table.line.is_closed)
    table.turn()
    assert table.hearer.told == ["fin", "closed"]
    assert table.over == 1
    assert _is_at_end(table.process)


def test_fin_goes_after_the_last_byte_and_the_process_may_go_on_speaking(table: Table) -> None:
    offset = table.write(os.urandom(_PIECE))
    pieces = _give_until_full(table, offset)
    table.ask(table.line.fin)
    assert len(table.hear(pieces * _PIECE)) == pieces * _PIECE
    table.serve(lambda: _is_at_end(table.process))
    table.process.send(b"an answer all the same")
    table.serve(lambda: len(table.hearer.bytes) == 22)
    table.process.close()
    table.serve(lambda: table.hearer.told[-1:] == ["closed"])
    assert table.hearer.told == ["drained", "said", "fin", "closed"]


def test_reset_goes_after_the_last_byte_and_ends_the_line(table: Table) -> None:
    offset = table.write(os.urandom(_PIECE))
    pieces = _give_until_full(table, offset)
    table.ask(table.line.reset)
    assert not table.line.is_closed
    heard = bytearray()
    table.serve(lambda: _drain_to_reset(table.process, heard))
    assert len(heard) == pieces * _PIECE
    assert table.over == 1
    assert table.hearer.told == []  # who aborts is not told so; nor that there is room on what is gone


def test_reset_may_follow_fin(table: Table) -> None:
    table.ask(table.line.fin)
    table.turn()
    assert _is_at_end(table.process)
    table.ask(table.line.reset)
    table.serve(lambda: table.line.is_closed)
    # After a FIN recv() says 0 for ever; the abort shows as the socket's error.
    table.serve(lambda: table.process.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE)
    assert (table.hearer.told, table.over) == ([], 1)


def test_reset_comes_though_the_process_takes_no_more(table: Table) -> None:
    offset = table.write(os.urandom(_PIECE))
    pieces = _give_until_full(table, offset)
    table.ask(table.line.reset)
    table.serve(lambda: table.line.is_closed)
    heard = bytearray()
    table.serve(lambda: _drain_to_reset(table.process, heard))
    assert len(heard) < pieces * _PIECE


def test_reset_with_nothing_waiting_is_an_abort_at_once(table: Table) -> None:
    table.ask(table.line.reset)
    assert table.line.is_closed
    table.serve(lambda: _is_reset(table.process))
    assert (table.hearer.told, table.over) == ([], 1)


def test_an_abort_of_the_process_is_told_after_the_bytes_before_it(table: Table) -> None:
    table.process.send(b"and then")
    _abort(table.process)
    table.serve(lambda: table.line.is_closed)
    table.turn()
    assert table.hearer.told == ["said", "reset"]
    assert table.over == 1


def test_an_abort_while_bytes_wait_is_told_as_an_abort_and_nothing_counts_as_taken(table: Table) -> None:
    """The kernel tells of an abort once: the call that sends must not use that up."""
    offset = table.write(os.urandom(_PIECE))
    table.hearer.answers["drained"] = lambda: pytest.fail("told that all was taken")
    untaken = []
    table.hearer.answers["reset"] = lambda: untaken.append(table.line.untaken)
    pieces = _give_until_full(table, offset)
    table.process.send(b"enough")
    table.turn()
    _abort(table.process)
    table.serve(lambda: table.line.is_closed)
    assert table.hearer.told == ["said", "reset"]
    assert table.over == 1
    assert 64 * _PIECE < untaken[0] < pieces * _PIECE


def test_what_a_process_took_before_it_aborted_is_not_untaken(table: Table) -> None:
    untaken = []
    table.hearer.answers["reset"] = lambda: untaken.append(table.line.untaken)
    table.give(b"all of this")
    assert table.hear(11) == b"all of this"
    _abort(table.process)
    table.serve(lambda: table.line.is_closed)
    assert untaken == [0]


def test_an_abort_that_giving_finds_out_is_told_in_another_round(table: Table) -> None:
    table.process.send(b"last")
    _abort(table.process)
    for _ in range(3):
        assert table.give(b"too late")
    assert table.hearer.told == []
    table.serve(lambda: table.line.is_closed)
    assert table.hearer.told == ["said", "reset"]
    assert bytes(table.hearer.bytes) == b"last"


def test_an_abort_that_closing_finds_out_is_told_in_another_round(table: Table) -> None:
    _abort(table.process)
    table.ask(table.line.fin)
    assert table.hearer.told == []
    table.serve(lambda: table.line.is_closed)
    assert table.hearer.told == ["reset"]


def test_an_abort_after_the_last_byte_is_told(table: Table) -> None:
    table.process.shutdown(socket.SHUT_WR)
    table.serve(lambda: table.hearer.told == ["fin"])
    _abort(table.process)
    table.serve(lambda: table.line.is_closed)
    assert table.hearer.told == ["fin", "reset"]


@pytest.mark.parametrize("is_told_in_one_event", [True, False])
def test_fin_and_an_abort_that_come_together_are_told_both(
    tmp_path: Path, is_told_in_one_event: bool
) -> None:
    """A process that closed, and whose kernel then met a byte of ours."""
    table = Table(tmp_path, is_registered=False)
    table.process.send(b"bye")
    table.process.close()
    if is_told_in_one_event:
        table.line.sock.send(b"into the void")
        _await_abort(table.line.sock)
        table.register()
    else:
        table.register()
        table.serve(lambda: table.hearer.told == ["said", "fin"])
        table.give(b"into the void")
    table.serve(lambda: table.line.is_closed)
    table.turn()
    assert table.hearer.told == ["said", "fin", "reset"]
    assert table.over == 1
    table.close()


def test_fin_after_ours_leaves_nothing_open_though_an_abort_follows(table: Table) -> None:
    table.ask(table.line.fin)
    table.process.close()
    table.serve(lambda: table.line.is_closed)
    table.turn()
    assert table.hearer.told == ["fin", "closed"]


def test_urgent_bytes_stay_in_line(table: Table) -> None:
    table.process.send(b"before")
    table.process.send(b"!", socket.MSG_OOB)
    table.process.send(b"after")
    table.process.send(b"?", socket.MSG_OOB)
    table.process.shutdown(socket.SHUT_WR)
    table.serve(lambda: "fin" in table.hearer.told)
    assert bytes(table.hearer.bytes) == b"before!after?"


def test_a_process_that_never_reads_holds_no_bytes_here(table: Table) -> None:
    size = 1 << 30
    os.ftruncate(table.file, size)
    given = 0
    while not table.give_at(given, _PIECE):
        given += _PIECE
    assert given < 64 * _MIB
    table.turn()
    assert table.hearer.told == []
    assert sum(length for _, length in table.line._unsent) <= 66 * _PIECE


def test_a_listener_gives_a_whole_file_as_it_is_taken(table: Table) -> None:
    data = os.urandom(_PIECE)
    offset = table.write(data)
    left = 1000

    def give_on() -> None:
        nonlocal left
        while left:
            left -= 1
            if table.line.give(offset, _PIECE):
                return
        table.line.fin()

    table.hearer.answers["drained"] = give_on
    give_on()
    heard = bytearray()
    table.serve(lambda: _drain(table.process, heard))
    assert heard == data * 1000


def test_a_process_that_has_said_its_last_byte_still_hears_all(table: Table) -> None:
    table.process.shutdown(socket.SHUT_WR)
    table.serve(lambda: table.hearer.told == ["fin"])
    offset = table.write(os.urandom(_PIECE))
    pieces = _give_until_full(table, offset)
    table.ask(table.line.fin)
    heard = bytearray()
    table.serve(lambda: _drain(table.process, heard))
    assert len(heard) == pieces * _PIECE
    table.serve(lambda: table.hearer.told == ["fin", "drained", "closed"])


@pytest.mark.parametrize("what", ["give", "fin", "reset"])
@pytest.mark.parametrize("at", ["said", "fin"])
def test_a_listener_may_answer_from_within(table: Table, at: str, what: str) -> None:
    def void(_is_full: bool) -> None: ...

    offset = table.write(b"answer")
    answers = {
        "give": lambda: void(table.line.give(offset, 6)),
        "fin": table.line.fin,
        "reset": table.line.reset,
    }
    table.hearer.answers[at] = answers[what]
    table.process.send(b"x")
    table.process.shutdown(socket.SHUT_WR)
    table.serve(lambda: table.line.is_closed or "fin" in table.hearer.told)
    table.turn()
    expected = ["said", "fin"] if (at, what) != ("said", "reset") else ["said"]
    assert table.hearer.told == expected + ["closed"] * (what == "fin")
    assert table.over == (what != "give")


def test_nothing_is_told_and_nothing_goes_once_the_line_is_closed(table: Table) -> None:
    table.hearer.answers["said"] = table.line.reset
    table.process.send(b"x" * (3 * _MIB // 2))
    table.serve(lambda: table.line.is_closed)
    said = len(table.hearer.bytes)
    assert not table.give(b"nobody hears this")
    table.ask(table.line.fin)
    table.ask(table.line.reset)
    table.line.on_events(0xFFF)
    table.turn()
    assert (table.hearer.told, len(table.hearer.bytes), table.over) == (["said"], said, 1)


def test_a_tape_that_somebody_cuts_is_an_error_and_no_busy_loop(table: Table) -> None:
    offset = table.write(b"12345")
    os.ftruncate(table.file, offset + 2)
    with pytest.raises(DumpError, match="cannot read the dump: somebody has cut it"):
        table.line.give(offset, 5)


def test_a_line_that_is_abandoned_closes_its_socket_and_is_silent(table: Table) -> None:
    offset = table.write(bytes(_PIECE))
    _give_until_full(table, offset)
    table.loop.remove(table.line.sock.fileno())
    table.line.abandon()
    table.turn()
    assert table.line.sock.fileno() == -1
    assert (table.hearer.told, table.over) == ([], 0)


def _give_until_full(table: Table, offset: int) -> int:
    """Give the piece at `offset` as often as there is room for it; how often it went."""
    pieces = 1
    while not table.give_at(offset, _PIECE):
        pieces += 1
    return pieces


def _connected_pair() -> tuple[socket.socket, socket.socket]:
    """A process's socket and ours, connected by TCP; ours is made as the proxy's are."""
    with new_socket(socket.AF_INET) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        outer = socket.create_connection(listener.getsockname())
        listener.setblocking(True)
        inner, _ = listener.accept()
    for sock in (outer, inner):
        sock.setblocking(False)
    return outer, inner


def _await_abort(sock: socket.socket) -> None:
    """Wait until the kernel knows of an abort, without using that up."""
    deadline = time.monotonic() + _DEADLINE_S
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 7:  # TCP_CLOSE
        assert time.monotonic() < deadline


def _abort(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _is_at_end(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def _is_reset(sock: socket.socket) -> bool:
    try:
        sock.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return False


def _drain_to_reset(sock: socket.socket, into: bytearray) -> bool:
    """Read what there is; whether an abort followed."""
    try:
        return _drain(sock, into) and False
    except ConnectionResetError:
        return True


def _drain(sock: socket.socket, into: bytearray) -> bool:
    """Read what there is; whether that was the last."""
    try:
        while piece := sock.recv(_MIB):
            into.extend(piece)
    except BlockingIOError:
        return False
    return True
