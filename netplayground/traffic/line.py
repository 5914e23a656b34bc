"""A line: one connection of a replay with a live process, whose other end is the tape.

What the process says goes to the listener, and no further. What it is to hear lies in the tape's file and
goes from there by sendfile(2); what its kernel does not take at once waits here as (offset, length), so a
line holds no bytes. FIN and RST go after the last of them.

Descriptors are registered once, edge-triggered, as a pipe's are. The listener may give, close and reset from
within its own calls, and is itself never called from within `give`, `fin` or `reset`: what those find out is
told in the loop's next round.

That a process has aborted, the kernel tells one call, be it by an event, by recv(2) or by one that sends; and
after a FIN recv(2) says 0 in any case. So the line remembers it, reads what the process had said before, and
then tells.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from fcntl import ioctl
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from typing import Protocol

from netplayground.errors import DumpError
from netplayground.traffic.pipe import Workspace
from netplayground.traffic.sockets import close_in_order

_READING = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR
_MORE_THAN_BYTES = EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR
_READS_A_TURN = 4  # then the other descriptors have their turn
_MOST_WAITING = 64  # extents, of up to 64 KiB each

_STAYS_OPEN, _FIN, _RESET, _SHUT = range(4)

_SIOCOUTQNSD = 0x894B  # linux/sockios.h: what of the kernel's queue has not been sent
_LOOK_S = 0.005
_MOST_VAIN_LOOKS = 50  # then a process takes no more of what an abort is to follow


class LineListener(Protocol):
    """Hears what the process does."""

    def said(self, data: memoryview) -> None:
        """Bytes."""

    def fin(self) -> None:
        """Its last byte is said."""

    def reset(self) -> None:
        """It has aborted the connection, which is over; `Line.untaken` says what it cannot have heard."""

    def drained(self) -> None:
        """Its kernel has taken all that it was given, after there was too much."""

    def closed(self) -> None:
        """Both directions are closed, everything was taken; the connection is over."""


class Line:
    """One socket and what waits for it."""

    __slots__ = (
        "_drain_to_eagain",
        "_ending",
        "_has_missed_error",
        "_is_aborted",
        "_is_full",
        "_listener",
        "_on_over",
        "_unsent",
        "_workspace",
        "fin_seen",
        "is_closed",
        "sock",
    )

    def __init__(
        self,
        workspace: Workspace,
        sock: socket.socket,
        listener: LineListener,
        on_over: Callable[[Line], None],
    ) -> None:
        self.sock = sock
        self.is_closed = False
        self._workspace = workspace
        self._listener = listener
        self._on_over = on_over
        self._unsent: list[tuple[int, int]] = []  # (offset, length) in the tape's file, first to go first
        self._ending = _STAYS_OPEN  # what is to follow the last byte
        self.fin_seen = False  # the process has said its last byte
        self._is_full = False
        self._drain_to_eagain = False
        self._is_aborted = False  # by the process, which has not been told yet
        self._has_missed_error = False  # recv() will say 0 in its place

    @property
    def untaken(self) -> int:
        """How many bytes of what was given have not left for the process's kernel."""
        (queued,) = struct.unpack("i", ioctl(self.sock.fileno(), _SIOCOUTQNSD, bytes(4)))
        return int(queued) + sum(length for _, length in self._unsent)

    # What the process is to hear.

    def give(self, offset: int, length: int) -> bool:
        """Hand the process these bytes of the tape's file; whether it is to have no more before `drained`."""
        if not self.is_closed:
            self._unsent.append((offset, length))
            if len(self._unsent) == 1 and not self._is_aborted:
                self._send()
            self._is_full = self._is_aborted or len(self._unsent) > _MOST_WAITING
        return self._is_full

    def fin(self) -> None:
        """Close our direction, after all that was given."""
        self._end_with(_FIN)

    def reset(self) -> None:
        """Abort, after all that was given, as far as the process takes it."""
        self._end_with(_RESET)

    def abandon(self) -> None:
        """The run is over: close the socket without a word to the process."""
        self.is_closed = True
        self.sock.close()

    def _end_with(self, ending: int) -> None:
        if self.is_closed:
            return
        if ending == _RESET:
            self._ending = _RESET
            self._abort_once_taken(self.untaken, _MOST_VAIN_LOOKS)
        elif self._ending == _STAYS_OPEN:
            self._ending = _FIN
            if not self._unsent:
                self._end()

    def _abort_once_taken(self, before: int, looks: int) -> None:
        """RST overtakes what waits in our kernel, too: abort when all has left, or nothing of it does."""
        if self.is_closed:
            return
        left = self.untaken
        if left < before:
            looks = _MOST_VAIN_LOOKS
        if left and looks and not self._is_aborted:
            self._workspace.loop.call_after(_LOOK_S, lambda: self._abort_once_taken(left, looks - 1))
        else:
            self._close()

    def _send(self) -> None:
        """Hand over what waits, as far as the process's kernel takes it."""
        unsent, fd, file_fd = self._unsent, self.sock.fileno(), self._workspace.file_fd
        self._workspace.has_sent = True
        while unsent:
            offset, length = unsent[0]
            try:
                sent = os.sendfile(fd, file_fd, offset, length)
            except BlockingIOError:
                return
            except OSError as error:  # EPIPE, ECONNRESET: the process has aborted
                if error.errno == errno.EIO:
                    raise DumpError(f"cannot read the dump: {error.strerror}") from error
                self.tell_abort_later(error.errno)
                return
            if sent == length:
                del unsent[0]
            elif not sent:
                raise DumpError("cannot read the dump: somebody has cut it")
            else:
                unsent[0] = (offset + sent, length - sent)
        self._end()

    def _end(self) -> None:
        """Nothing waits: say what was to follow the last byte."""
        if self._ending == _FIN:
            self._ending = _SHUT
            self._workspace.has_sent = True
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError as error:  # ENOTCONN: aborted meanwhile
                self.tell_abort_later(error.errno)
                return
            self._workspace.loop.again(self._finish_if_closed)

    def tell_abort_later(self, error: int | None) -> None:
        """The kernel has told of an abort, by this error."""
        self._is_aborted = True
        # EPIPE is what the kernel says of an abort that followed a FIN, and of what it has said already.
        self._has_missed_error |= error not in (errno.EPIPE, errno.ENOTCONN)
        self._workspace.loop.again(lambda: self.on_events(EPOLLIN | EPOLLERR))

    def _finish_if_closed(self) -> None:
        if self._ending == _SHUT and self.fin_seen and not self.is_closed:
            close_in_order(self.sock)
            self._close()
            self._listener.closed()

    # What the process does.

    def on_events(self, events: int) -> None:
        """What epoll says of this socket."""
        if self.is_closed:
            return
        if events & EPOLLERR:
            self._is_aborted = True
        elif events & EPOLLOUT and self._unsent:
            self._send()
            if self._is_full and not self._unsent and self._ending != _RESET:
                self._is_full = False
                self._listener.drained()
        if events & _READING and not self.is_closed:
            if events & _MORE_THAN_BYTES:
                self._drain_to_eagain = True
            if not self.fin_seen:
                self._read()
            elif self._is_aborted:
                self._finish()

    def _read(self) -> None:
        view, sock = self._workspace.view, self.sock
        for _ in range(_READS_A_TURN):
            try:
                size = sock.recv_into(view)
            except BlockingIOError:
                return
            except OSError:  # ECONNRESET and its like: however it failed, the process's side is gone
                self._reset()
                return
            if not size:
                self._on_end()
                return
            self._listener.said(view[:size])
            if self.is_closed or (size < len(view) and not self._drain_to_eagain):
                return
        self._workspace.loop.again(self._read_on)

    def _on_end(self) -> None:
        """recv() says 0: the process has said its last byte, or aborted and another call was told so."""
        if self._has_missed_error:
            self._reset()
            return
        self.fin_seen = True
        self._listener.fin()
        self._finish()

    def _finish(self) -> None:
        """Its last byte is said: was it told that ours is, or has it aborted?"""
        self._finish_if_closed()
        if self._is_aborted and not self.is_closed:
            self._reset()

    def _read_on(self) -> None:
        if not (self.is_closed or self.fin_seen):
            self._read()

    def _reset(self) -> None:
        self._close()
        self._listener.reset()

    def _close(self) -> None:
        self.is_closed = True
        self._workspace.loop.close_later(self.sock.fileno(), self.sock)
        self._on_over(self)
