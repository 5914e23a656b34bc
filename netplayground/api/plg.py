"""plg as the child of this program: started, asked, waited for.

One socket has all requests and answers (session/control.py says what they are). Any number of threads may
ask: whoever waits while nobody reads, reads for all. The child ends by itself when this end of the socket is
closed, and when this program is gone; it is in a session of its own, so that ^C comes to this program only,
which then ends the run in order.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, TypeVar

from netplayground import errors
from netplayground.errors import DamagedDumpError, PlaygroundError, PlaygroundOverError, WaitTimeoutError
from netplayground.replay.verdict import Verdict
from netplayground.session.order import Order
from netplayground.session.outcome import RunSummary
from netplayground.session.parcel import unpack

T = TypeVar("T")

_LARGEST = 65536
_AFTER_INTERRUPT_S = 30.0  # beyond the grace
_START = "import sys; sys.path[:] = {!r}; from netplayground.session.child import main; main()"


class Plg:
    """One child. `close` or `finish` must be called, whatever happens."""

    def __init__(
        self,
        make_order: Callable[[int], Order],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; `make_order` is given the number of the control socket that the child has."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = here
        self._owner = os.getpid()
        self._numbers = count(1)
        self._changed = threading.Condition()
        self._is_reading = False
        self._heard = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._stands: dict[str, Any] | None = None
        self._last: dict[str, Any] | None = None
        with there:
            order = make_order(there.fileno())
            self._grace_s = order.options.grace_s
            try:
                self._process = _start(order, environment)
            except BaseException:
                here.close()
                raise
        self._hand_over(order)

    def _hand_over(self, order: Order) -> None:
        assert self._process.stdin is not None
        # Where it could not even start, its end says so.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            pickle.dump(order, stdin)

    # Asking.

    @property
    def pid(self) -> int:
        """The child's."""
        return self._process.pid

    @property
    def is_over(self) -> bool:
        """Whether the run is known to have ended."""
        return self._last is not None

    def await_standing(self) -> Mapping[str, list[str]]:
        """Wait until all namespaces stand; the addresses of all processes. PlaygroundError of the child's."""
        stands = self._await(lambda: self._stands, None)
        addresses: Mapping[str, list[str]] = stands["addresses"]
        return addresses

    def ask(self, what: str, timeout_s: float | None = None, **fields: object) -> Mapping[str, Any]:
        """The answer to one request. WaitTimeoutError; PlaygroundOverError when the run ends before it."""
        identity = next(self._numbers)
        self._send({"id": identity, "do": what, **fields})
        try:
            answer = self._await(lambda: self._answers.pop(identity, None), timeout_s)
        except WaitTimeoutError:
            self._send({"id": identity, "do": "forget"})
            raise
        if "error" in answer:
            raise PlaygroundError(answer["error"])
        return answer

    def end(self) -> None:
        """Ask for the end of the run; `finish` waits for it."""
        if self._last is None:
            self._send({"do": "end"})

    def finish(self) -> tuple[RunSummary, Verdict | None]:
        """Wait for the end of the run, and of the child; how the run went. An exception that comes meanwhile
        (KeyboardInterrupt) ends the run in order."""
        try:
            self._await_last(None)
        except BaseException:
            self.close()
            raise
        self.close()
        assert self._last is not None
        if self._last["event"] != "over":
            raise _error(self._last)
        summary, verdict = unpack(self._last["result"])
        return summary, verdict

    def close(self) -> None:
        """End whatever goes on, in order, and let go of it; a second time it does nothing."""
        if self._channel.fileno() < 0:
            return
        try:
            if self._last is None:
                self.end()
                self._await_last(self._grace_s + _AFTER_INTERRUPT_S)
        except (PlaygroundError, OSError):
            self._process.kill()
        except BaseException:
            self._process.kill()
            raise
        finally:
            self._channel.close()
            self._process.wait()

    def _await_last(self, timeout_s: float | None) -> None:
        self._await(lambda: self._last, timeout_s)

    # The socket.

    def _send(self, request: Mapping[str, object]) -> None:
        if os.getpid() != self._owner:
            raise PlaygroundOverError("cannot lead a playground from a fork of the program that made it")
        if self._channel.fileno() < 0:
            raise PlaygroundOverError("cannot ask for anything: the playground is over")
        # Where it has gone, its last word is still to be read.
        with self._changed, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._channel.sendall(json.dumps(request).encode() + b"\n")

    def _await(self, get: Callable[[], T | None], timeout_s: float | None) -> T:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while True:
                found = get()
                if found is not None:
                    return found
                if self._last is not None:
                    raise self._premature_end()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise WaitTimeoutError(f"not within {timeout_s:g} s")
                if self._is_reading:
                    self._changed.wait(left)
                else:
                    self._read_for_all(left)

    def _read_for_all(self, left: float | None) -> None:
        """Read what comes, without the lock, and wake those who wait for it."""
        self._is_reading = True
        self._changed.release()
        data: bytes | None = None
        try:
            data = self._read(left)
        finally:
            self._changed.acquire()
            self._is_reading = False
            if data is not None:
                self._take(data)
            self._changed.notify_all()

    def _read(self, left: float | None) -> bytes | None:
        """What comes in that time; nothing at the end, None where nothing comes."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        if not poll.poll(None if left is None else max(0, left * 1000)):
            return None
        try:
            return self._channel.recv(_LARGEST)
        except ConnectionResetError:
            return b""

    def _take(self, data: bytes) -> None:
        if not data and self._last is None:
            status = self._process.wait()
            words = f"plg ended without a word, with status {status}"
            self._last = {"event": "failed", "kind": "PlaygroundError", "message": f"cannot go on: {words}"}
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            event = message.get("event")
            if event == "stands":
                self._stands = message
            elif event is not None:
                self._last = message
            else:
                self._answers[message["id"]] = message

    def _premature_end(self) -> PlaygroundError:
        assert self._last is not None
        if self._last["event"] == "failed":
            return _error(self._last)
        summary: RunSummary = unpack(self._last["result"])[0]
        return PlaygroundOverError(
            f"the playground has ended: {summary.reason or 'all processes have ended'}"
        )


def _start(order: Order, environment: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    paths = [os.path.abspath(path) for path in sys.path]
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _START.format(paths)],
            stdin=subprocess.PIPE,
            pass_fds=order.descriptors,
            start_new_session=True,
            cwd=order.folder,
            env=None if environment is None else dict(environment),
        )
    except OSError as error:
        raise PlaygroundError(f"cannot start plg in {order.folder}: {error.strerror}") from error


def _error(message: Mapping[str, Any]) -> PlaygroundError:
    """The child's error, as if it had been raised here."""
    kind = getattr(errors, message["kind"], PlaygroundError)
    if kind is DamagedDumpError:
        return DamagedDumpError(message["message"], message["offset"])
    error: PlaygroundError = kind(message["message"])
    return error
