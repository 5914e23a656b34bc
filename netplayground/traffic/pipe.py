"""A pipe: one spliced TCP connection, two sockets in the proxy namespace and what goes from one to the other.

States of an end: its descriptor may be `readable` (there may be more to read), it may have `unsent` bytes
(its kernel took no more of what its peer said), its process may have said its last byte (`fin_seen`). What
moves:

- Bytes are read from an end only while its peer has nothing unsent: a process that stops reading stops the
  other one by TCP's own window, and nothing piles up here. The listener has the bytes before the peer gets
  the first of them.
- All pipes share one read buffer. What the peer does not take at once is not kept in memory: it lies in the
  listener's file already and goes from there by sendfile(2). So a connection holds no bytes at all, however
  much it moves.
- FIN is passed on after the last byte, the other direction goes on; RST ends the pipe at once, with RST to
  the peer.

The buffer is as large as the cache that a core has for itself: reading into it, writing that to the file and
sending it costs less than splice(2) into the file and sendfile(2) out of it, which walk the same bytes page
by page (measured with iperf3: 5.4 against 4.2 Gbit/s), and small and large chunks take one path.

Descriptors are registered once, edge-triggered. So a read that did not fill the buffer has drained the
socket, unless the last event told of more than bytes: a FIN, an error, an urgent byte (a read stops at the
mark, tcp(7)); then only EAGAIN says drained.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from typing import Protocol

from netplayground.dump.model import CLIENT, SERVER, SIDES
from netplayground.errors import DumpError
from netplayground.traffic.loop import Loop
from netplayground.traffic.sockets import close_in_order

END_EVENTS = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET
_READING = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR
_MORE_THAN_BYTES = EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR

_BUFFER = 1 << 20
_READS_A_TURN = 2  # then the other descriptors have their turn


class PipeListener(Protocol):
    """Hears what a pipe's two processes do, in order, before the other process does."""

    def chunk(self, side: int, data: memoryview) -> int:
        """Bytes that `side` said; returns the offset of the first of them in the listener's file."""

    def extents(self, offset: int, skip: int, length: int) -> list[tuple[int, int]]:
        """Where a chunk of `length` bytes that begins at `offset` lies, but for its first `skip` bytes:
        (offset, length)."""

    def fin(self, side: int) -> None:
        """`side` has said its last byte."""

    def rst(self, side: int) -> None:
        """`side` has aborted the connection."""

    def note(self, kind: str, **fields: object) -> None:
        """Something that no packet can tell."""


class Workspace:
    """What all pipes share: the loop, the read buffer, and the file in which the listener keeps bytes."""

    __slots__ = ("file_fd", "has_sent", "loop", "view")

    def __init__(self, loop: Loop, file_fd: int) -> None:
        self.loop = loop
        self.file_fd = file_fd
        self.view = memoryview(bytearray(_BUFFER))
        self.has_sent = False  # since somebody last cleared it: our kernel has packets for the router


class End:
    """One socket of a pipe; `peer` is the other."""

    __slots__ = ("drain_to_eagain", "fin_seen", "peer", "pipe", "readable", "side", "sock", "unsent")

    peer: End

    def __init__(self, pipe: Pipe, side: int, sock: socket.socket) -> None:
        self.pipe = pipe
        self.side = side
        self.sock = sock
        self.unsent: list[tuple[int, int]] = []  # (offset, length) in the listener's file, first to go first
        self.readable = False
        self.drain_to_eagain = False
        self.fin_seen = False

    def on_events(self, events: int) -> None:
        """What epoll says of this socket."""
        if events & EPOLLOUT and self.unsent and self.send_unsent() and self.peer.readable:
            self.peer.forward()
        if events & _READING and not self.pipe.closed:
            self.readable = True
            if events & _MORE_THAN_BYTES:
                self._on_more_than_bytes(events)
            if not self.pipe.closed:
                self.forward()

    def _on_more_than_bytes(self, events: int) -> None:
        if events & EPOLLPRI and not self.drain_to_eagain:
            self.pipe.listener.note("urgent-byte", side=SIDES[self.side])
        self.drain_to_eagain = True
        # An abort overtakes what its peer has no room for, as on a wire. After a FIN, reading would not tell
        # of it.
        if events & EPOLLERR and (self.fin_seen or self.peer.unsent):
            self.pipe.reset_by(self)

    def forward(self) -> None:
        """Move what this process said to the other one, until it is drained, the other is full, or the turn
        is over."""
        pipe, peer, sock, view = self.pipe, self.peer, self.sock, self.pipe.workspace.view
        for _ in range(_READS_A_TURN):
            if pipe.closed or peer.unsent or self.fin_seen:
                return
            try:
                size = sock.recv_into(view)
            except BlockingIOError:
                self.readable = False
                return
            except OSError:  # ECONNRESET and its like: however it failed, the process's side is gone
                pipe.reset_by(self)
                return
            if not size:
                pipe.fin_by(self)
                return
            data = view[:size]
            peer.send(data, pipe.listener.chunk(self.side, data))
            if size < _BUFFER and not self.drain_to_eagain:
                self.readable = False
                return
        pipe.workspace.loop.again(self.forward)

    def send(self, data: memoryview, offset: int) -> None:
        """Hand this process bytes; they lie at `offset` of the listener's file, for the part that it does not
        take."""
        self.pipe.workspace.has_sent = True
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.pipe.reset_by(self)
            return
        if sent < len(data):
            self.unsent = self.pipe.listener.extents(offset, sent, len(data))

    def send_unsent(self) -> bool:
        """Hand this process what waits for it; True when all of it went."""
        unsent, fd, file_fd = self.unsent, self.sock.fileno(), self.pipe.workspace.file_fd
        while unsent:
            offset, length = unsent[0]
            try:
                sent = os.sendfile(fd, file_fd, offset, length)
            except BlockingIOError:
                return False
            except OSError:
                self.pipe.reset_by(self)
                return False
            if sent == length:
                del unsent[0]
            elif not sent:
                raise DumpError("cannot read the dump back: somebody has cut it")
            else:
                unsent[0] = (offset + sent, length - sent)
        if self.peer.fin_seen:
            self.pipe.pass_fin_to(self)
        return True


class Pipe:
    """Two ends, and the listener that hears both before they hear one another."""

    __slots__ = ("closed", "ends", "listener", "on_closed", "workspace")

    def __init__(
        self,
        workspace: Workspace,
        listener: PipeListener,
        client: socket.socket,
        server: socket.socket,
        on_closed: Callable[[Pipe], None],
    ) -> None:
        self.workspace = workspace
        self.listener = listener
        self.on_closed = on_closed
        self.closed = False
        self.ends = (End(self, CLIENT, client), End(self, SERVER, server))
        self.ends[CLIENT].peer, self.ends[SERVER].peer = self.ends[SERVER], self.ends[CLIENT]

    def fin_by(self, end: End) -> None:
        """`end` has said its last byte: tell the other process, once it has all bytes before it."""
        end.readable = False
        end.fin_seen = True
        self.listener.fin(end.side)
        if not end.peer.unsent:
            self.pass_fin_to(end.peer)

    def pass_fin_to(self, end: End) -> None:
        """Close our direction toward `end`; with both directions closed the pipe is done."""
        try:
            end.sock.shutdown(socket.SHUT_WR)
        except OSError:  # ENOTCONN: its process has aborted meanwhile
            self.reset_by(end)
            return
        if end.fin_seen and not end.peer.unsent:
            for each in self.ends:
                close_in_order(each.sock)
            self._close()

    def reset_by(self, end: End) -> None:
        """`end` has aborted the connection: RST to the other process, not FIN."""
        if self.closed:
            return
        self.listener.rst(end.side)
        self._close()

    def _close(self) -> None:
        self.closed = True
        for end in self.ends:
            self.workspace.loop.close_later(end.sock.fileno(), end.sock)
        self.on_closed(self)
