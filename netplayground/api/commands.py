"""A command's stdin, stdout and stderr as pipes of this program, carried while it runs."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from types import TracebackType

_LARGEST = 1 << 16


class Pipes:
    """Feeds a command, and keeps what it says."""

    def __init__(self, given: bytes) -> None:
        """`given`: its whole stdin."""
        theirs_in, self._stdin = os.pipe2(os.O_CLOEXEC)
        self._stdout, theirs_out = os.pipe2(os.O_CLOEXEC)
        self._stderr, theirs_err = os.pipe2(os.O_CLOEXEC)
        self.theirs = (theirs_in, theirs_out, theirs_err)
        self._given = given
        self._is_fed = False
        self._said = {self._stdout: bytearray(), self._stderr: bytearray()}
        for descriptor in (self._stdin, *self._said):
            os.set_blocking(descriptor, False)

    def __enter__(self) -> Pipes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (*self.theirs, *self._said, *(() if self._is_fed else (self._stdin,))):
            os.close(descriptor)

    def carry_until(self, over: int, timeout_s: float | None) -> bool:
        """Carry until the descriptor `over` is readable, the command's end; False: not in that time. Who
        still holds the pipes then (a daemon) is not waited for."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            for descriptor in (over, *self._said):
                selector.register(descriptor, selectors.EVENT_READ)
            if not self._feed():
                selector.register(self._stdin, selectors.EVENT_WRITE)
            while True:
                ready = selector.select(None if deadline is None else max(0, deadline - time.monotonic()))
                for key, _ in ready:
                    if key.fd in self._said:
                        self._hear(key.fd)
                    elif key.fd != over and self._feed():
                        selector.unregister(key.fd)
                if any(key.fd == over for key, _ in ready):
                    break
                if not ready and deadline is not None and time.monotonic() >= deadline:
                    return False
        for descriptor in self._said:
            while self._hear(descriptor):
                pass
        return True

    @property
    def said(self) -> tuple[bytes, bytes]:
        """What it has said on stdout and stderr."""
        return bytes(self._said[self._stdout]), bytes(self._said[self._stderr])

    def _feed(self) -> bool:
        """Whether all was given, or nobody takes it any more; the pipe is closed then."""
        with contextlib.suppress(BrokenPipeError):
            try:
                while self._given:
                    self._given = self._given[os.write(self._stdin, self._given[:_LARGEST]) :]
            except BlockingIOError:
                return False
        os.close(self._stdin)
        self._is_fed = True
        return True

    def _hear(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, _LARGEST)
        except BlockingIOError:
            return False
        self._said[descriptor] += data
        return bool(data)
