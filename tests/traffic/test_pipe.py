"""A pipe between two real TCP connections over loopback, one event batch at a time: what one says, the other
hears."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netplayground.dump.model import CLIENT, SERVER
from netplayground.traffic.loop import Loop
from netplayground.traffic.pipe import END_EVENTS, Pipe, Workspace
from netplayground.traffic.sockets import RESET_ON_CLOSE

_DEADLINE_S = 20.0
_SEGMENT = 60_000  # the notebook cuts large chunks with a gap, as a dump does


class Notebook:
    """A listener that keeps bytes in a file, cut into segments with gaps between, and remembers what it
    heard."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self.heard: list[tuple[object, ...]] = []
        self.said = [bytearray(), bytearray()]

    def chunk(self, side: int, data: memoryview) -> int:
        first = os.lseek(self.fd, 0, os.SEEK_CUR) + 1
        for start in range(0, len(data), _SEGMENT):
            os.writev(self.fd, [b"#", data[start : start + _SEGMENT]])
        self.said[side] += data
        if self.heard[-1:] != [("chunk", side)]:
            self.heard.append(("chunk", side))
        return first

    def extents(self, offset: int, skip: int, length: int) -> list[tuple[int, int]]:
        rest = []
        for start in range(0, length, _SEGMENT):
            end = min(start + _SEGMENT, length)
            if end > skip:
                begin = max(start, skip)
                rest.append((offset + start + start // _SEGMENT + begin - start, end - begin))
        return rest

    def fin(self, side: int) -> None:
        self.heard.append(("fin", side))

    def rst(self, side: int) -> None:
        self.heard.append(("rst", side))

    def note(self, kind: str, **fields: object) -> None:
        self.heard.append((kind, fields))


class Table:
    """A client and a server at the two ends of a pipe; `serve` turns the loop until something holds."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        self.notebook = Notebook(folder / "notebook")
        self.client, near_client = _connected_pair()
        self.server, near_server = _connected_pair()
        self.closed = False
        workspace = Workspace(self.loop, self.notebook.fd)
        self.pipe = Pipe(workspace, self.notebook, near_client, near_server, self._on_closed)
        for end in self.pipe.ends:
            self.loop.add(end.sock.fileno(), END_EVENTS, end.on_events)

    def serve(self, holds: object) -> None:
        """Turn the loop until `holds()`; fail when that does not come true."""
        assert callable(holds)
        deadline = time.monotonic() + _DEADLINE_S

        def look() -> None:
            if holds():
                self.loop.stop()
            else:
                assert time.monotonic() < deadline, self.notebook.heard
                self.loop.call_after(0.001, look)

        look()
        self.loop.run()

    def hear(self, sock: socket.socket, length: int) -> bytes:
        """What a process has been given, once it is `length` bytes."""
        heard = bytearray()

        def read() -> bool:
            with contextlib.suppress(BlockingIOError):
                heard.extend(sock.recv(1 << 20))
            return len(heard) >= length

        self.serve(read)
        return bytes(heard)

    def _on_closed(self, _pipe: Pipe) -> None:
        self.closed = True

    def close(self) -> None:
        self.loop.close()
        for sock in (self.client, self.server, *(end.sock for end in self.pipe.ends)):
            sock.close()
        os.close(self.notebook.fd)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    laid = Table(tmp_path)
    yield laid
    laid.close()


@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_what_one_side_says_the_other_hears_and_the_listener_has_it(table: Table, side: int) -> None:
    speaker, hearer = _by_side(table, side)
    speaker.send(b"hello")
    assert table.hear(hearer, 5) == b"hello"
    assert table.notebook.said[side] == b"hello"


@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_half_close_keeps_the_other_direction_open(table: Table, side: int) -> None:
    speaker, hearer = _by_side(table, side)
    speaker.send(b"last words")
    speaker.shutdown(socket.SHUT_WR)
    assert table.hear(hearer, 10) == b"last words"
    table.serve(lambda: _is_at_end(hearer))
    hearer.send(b"an answer all the same")
    assert table.hear(speaker, 22) == b"an answer all the same"
    assert not table.closed
    hearer.close()
    table.serve(lambda: table.closed)
    assert table.notebook.heard == [("chunk", side), ("fin", side), ("chunk", 1 - side), ("fin", 1 - side)]


@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_an_abort_is_passed_on_as_an_abort_after_the_bytes_before_it(table: Table, side: int) -> None:
    speaker, hearer = _by_side(table, side)
    speaker.send(b"and then")
    _abort(speaker)
    assert table.hear(hearer, 8) == b"and then"
    table.serve(lambda: _is_reset(hearer))
    assert table.notebook.heard == [("chunk", side), ("rst", side)]


def test_a_peer_that_stops_reading_stops_the_sender_and_nothing_piles_up(table: Table) -> None:
    data = os.urandom(1 << 20) * 64
    sent = 0

    def send_until_stopped() -> bool:
        nonlocal sent
        before = sent
        with contextlib.suppress(BlockingIOError):
            sent += table.client.send(data[sent : sent + (1 << 18)])
        return before == sent and bool(table.pipe.ends[SERVER].unsent)

    table.serve(send_until_stopped)
    assert sent < len(data)
    waiting = sum(length for _, length in table.pipe.ends[SERVER].unsent)
    assert 0 < waiting <= 1 << 20
    # The server reads on: every byte arrives, in order.
    assert table.hear(table.server, sent) == data[:sent]


def test_bulk_goes_through_whole_and_fin_comes_after_the_last_byte(table: Table) -> None:
    data = os.urandom(8 << 20)
    sent = 0
    heard = bytearray()

    def both() -> bool:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            sent += table.client.send(memoryview(data)[sent : sent + 500_000])
        if sent == len(data):
            table.client.shutdown(socket.SHUT_WR)
            sent += 1
        try:
            piece = table.server.recv(70_000)
            heard.extend(piece)
            return not piece
        except BlockingIOError:
            return False

    table.serve(lambda: sent > len(data) or both())
    table.serve(lambda: _drain(table.server, heard))
    assert heard == data
    assert table.notebook.said[CLIENT] == data


def test_an_abort_overtakes_what_the_peer_has_no_room_for(table: Table) -> None:
    block = bytes(1 << 18)

    def stuck() -> bool:
        with contextlib.suppress(BlockingIOError):
            table.client.send(block)
        return bool(table.pipe.ends[SERVER].unsent)

    table.serve(stuck)
    _abort(table.client)
    table.serve(lambda: table.closed)
    assert table.notebook.heard[-1] == ("rst", CLIENT)
    table.serve(lambda: _drain_to_reset(table.server))


def test_an_urgent_byte_stays_in_line_and_is_noted(table: Table) -> None:
    table.client.send(b"before")
    table.client.send(b"!", socket.MSG_OOB)
    table.client.send(b"after")
    assert table.hear(table.server, 12) == b"before!after"
    assert ("urgent-byte", {"side": "client"}) in table.notebook.heard


def test_an_abort_by_a_side_that_has_said_its_last_byte_reaches_the_other(table: Table) -> None:
    table.client.shutdown(socket.SHUT_WR)
    table.serve(lambda: _is_at_end(table.server))
    table.client.close()  # with nothing unread: no RST yet
    table.server.send(b"into the void")  # answered with RST by the client's kernel
    # After a FIN recv() says 0 for ever; the abort shows as the socket's error.
    table.serve(lambda: table.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE)
    assert table.notebook.heard == [("fin", CLIENT), ("chunk", SERVER), ("rst", CLIENT)]


def _connected_pair() -> tuple[socket.socket, socket.socket]:
    """A process's socket and ours, connected by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outer = socket.create_connection(listener.getsockname())
        inner, _ = listener.accept()
    for sock in (outer, inner):
        sock.setblocking(False)
    inner.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    return outer, inner


def _by_side(table: Table, side: int) -> tuple[socket.socket, socket.socket]:
    return (table.client, table.server) if side == CLIENT else (table.server, table.client)


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
        sock.recv(1 << 20)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return False


def _drain_to_reset(sock: socket.socket) -> bool:
    try:
        while sock.recv(1 << 20):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return False


def _drain(sock: socket.socket, into: bytearray) -> bool:
    try:
        while piece := sock.recv(1 << 20):
            into.extend(piece)
    except BlockingIOError:
        return False
    return True
