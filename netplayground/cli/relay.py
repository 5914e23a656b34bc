"""A process of its own that carries what the programs of a run say to where it belongs.

    programs ── pipe each ──┐
                            ├── relay ── plg's stdout or stderr, or a file for each program
    plg ── socket: words ───┘

It is a fork of plg, made before plg enters any namespace: a slow reader may stop it in write(2), and then
stops the programs behind their pipes, but never the loop that carries packets. There is one for each place
where something is written, so that a stopped stdout does not hold back stderr. It ends when every pipe has
come to its end, which is after the last process of every program's namespace; plg waits for that.

- What plg itself says during the run comes by the socket, a message a line, so that it never stands within
  a line of another; so does how the run goes, for whoever looks on. By the same socket the relay says at its
  end what it could not write.
- Where the reader of plg's stdout is gone the relay closes the programs' pipes: they get SIGPIPE, as they
  would have got it without plg. After any other error it reads on, so that they can end in order.
- Signals of the terminal, and those that end a run, are plg's: the relay ignores them. When plg is gone, all
  programs are, too; then it has a moment for what is left.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn, Protocol

from netplayground.sandbox import kernel

_CHUNK = 1 << 18
_AFTER_PLG_S = 1
_LONGEST_WORDS = 1 << 16  # a message of a SOCK_SEQPACKET socket must fit into its buffer
_WORDS, _STATUS = b"w", b"s"  # what a message of plg begins with
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PLG_IS_GONE = signal.SIGPWR


class Place(Protocol):
    """Where a relay writes; speakers are known by number, plg itself is the last."""

    @property
    def descriptors(self) -> Sequence[int]:
        """Those that it writes to."""

    def take(self, speaker: int, data: bytes, now: float) -> None:
        """A speaker said this; OSError where it cannot be written."""

    def end(self, speaker: int) -> None:
        """A speaker says no more; OSError likewise."""

    def next_time(self) -> float | None:
        """When `on_time` wants to be called (CLOCK_MONOTONIC)."""

    def on_time(self, now: float) -> None:
        """It is that time; OSError likewise."""

    def take_status(self, data: bytes) -> None:
        """How the run goes; OSError likewise."""


class Relay:
    """plg's hold on one relay."""

    def __init__(self, place: Place, pipes: Sequence[int], what: str) -> None:
        """Fork it. `pipes`: the end to read from, of each speaker but plg; they are closed here. `what` is
        the object of its complaint: "cannot write WHAT: ..."."""
        self._what = what
        self._channel, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plg = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _live(place, pipes, there, plg)
        there.close()
        for pipe in pipes:
            os.close(pipe)

    def say(self, words: bytes) -> None:
        """Words of plg's own; it waits while the relay is stopped."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody listens any more
            self._channel.send(_WORDS + words[:_LONGEST_WORDS])

    def show(self, status: bytes) -> None:
        """How the run goes, unless the relay has no time for it."""
        if len(status) <= _LONGEST_WORDS:
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                self._channel.send(_STATUS + status, socket.MSG_DONTWAIT)

    def finish(self) -> str | None:
        """Wait until all is written, once nobody holds a pipe's other end any more; what went wrong."""
        self._channel.shutdown(socket.SHUT_WR)
        status = self._await_end()
        complaint = b""
        with self._channel, contextlib.suppress(ConnectionResetError):
            complaint = self._channel.recv(_LONGEST_WORDS)
        if not complaint and status != 0:
            return f"cannot write {self._what}: its relay was ended from outside"
        return f"cannot write {self._what}: {complaint.decode(errors='replace')}" if complaint else None

    def kill(self) -> None:
        """End it with whatever it still holds."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._await_end()
        self._channel.close()

    def _await_end(self) -> int:
        try:
            return os.waitpid(self.pid, 0)[1]
        except ChildProcessError:
            return 0  # plg was started with SIGCHLD ignored: the kernel kept no status


def _live(place: Place, pipes: Sequence[int], channel: socket.socket, plg: int) -> NoReturn:
    status = 1
    try:
        gc.disable()
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(_PLG_IS_GONE, _hurry)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        kernel.die_with_parent(_PLG_IS_GONE)
        if os.getppid() != plg:
            _hurry(0, None)
        kernel.close_all_but({*pipes, channel.fileno(), *place.descriptors})
        complaint = _Carrier(place, pipes, channel).run()
        if complaint:
            channel.send(complaint.encode())
        status = 0
    except BaseException as error:
        channel.send(repr(error).encode()[:_LONGEST_WORDS])
    finally:
        os._exit(status)


def _hurry(_number: int, _frame: FrameType | None) -> None:
    """A write that waits goes on after this, until SIGALRM ends the process."""
    signal.alarm(_AFTER_PLG_S)


class _Carrier:
    """The loop of the relay."""

    def __init__(self, place: Place, pipes: Sequence[int], channel: socket.socket) -> None:
        self._place = place
        self._speakers = {pipe: number for number, pipe in enumerate((*pipes, channel.fileno()))}
        self._channel = channel
        self._complaint = ""
        self._poll = select.poll()
        for descriptor in self._speakers:
            self._poll.register(descriptor, select.POLLIN)

    def run(self) -> str:
        """Carry until nobody speaks any more; the error that was met, or nothing."""
        while self._speakers:
            try:
                self._go_round()
            except OSError as error:
                self._give_up(error)
        return self._complaint

    def _go_round(self) -> None:
        at = self._place.next_time()
        wait = None if at is None else max(0, int((at - time.monotonic()) * 1000) + 1)
        for descriptor, _ in self._poll.poll(wait):
            self._listen(descriptor)
        if at is not None and time.monotonic() >= at:
            self._place.on_time(time.monotonic())

    def _listen(self, descriptor: int) -> None:
        speaker = self._speakers[descriptor]
        data = os.read(descriptor, _CHUNK)
        if data and descriptor == self._channel.fileno():
            self._hear_plg(speaker, data)
        elif data:
            self._place.take(speaker, data, time.monotonic())
        else:
            self._forget(descriptor)
            self._place.end(speaker)

    def _hear_plg(self, speaker: int, message: bytes) -> None:
        if message.startswith(_STATUS):
            self._place.take_status(message[1:])
        else:
            self._place.take(speaker, message[1:], time.monotonic())

    def _give_up(self, error: OSError) -> None:
        """From now on nothing is written."""
        self._place = _Nowhere()
        if error.errno == errno.EPIPE:
            for descriptor in self._speakers.keys() - {self._channel.fileno()}:
                self._forget(descriptor)
        else:
            self._complaint = error.strerror or str(error)

    def _forget(self, descriptor: int) -> None:
        del self._speakers[descriptor]
        self._poll.unregister(descriptor)
        if descriptor != self._channel.fileno():
            os.close(descriptor)


class _Nowhere:
    """What is said here is lost."""

    descriptors = ()

    def take(self, speaker: int, data: bytes, now: float) -> None:
        """Drop it."""

    def end(self, speaker: int) -> None:
        """Nothing is kept."""

    def next_time(self) -> float | None:
        return None

    def on_time(self, now: float) -> None:
        """Never called."""

    def take_status(self, data: bytes) -> None:
        """Nobody looks on."""
