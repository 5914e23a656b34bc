"""The signals that end a run in order, as something the loop can wait for.

Python runs a handler between two of its instructions, and a wait for descriptors goes on after it; so the
handler does nothing, and the signal's number comes out of a socket pair (signal.set_wakeup_fd).
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from select import EPOLLIN
from types import FrameType, TracebackType
from typing import Any

from netplayground.traffic.loop import Loop

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalWatch:
    """While it is entered, SIGINT, SIGTERM and SIGHUP go to `on_signal` by way of the loop.

    One that plg was started to ignore (nohup, a background job of a shell) stays ignored.
    """

    def __init__(self) -> None:
        self._former: dict[int, Any] = {}
        self._former_wakeup = -1
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)

    def __enter__(self) -> SignalWatch:
        self._former_wakeup = signal.set_wakeup_fd(self._there.fileno(), warn_on_full_buffer=False)
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._former[number] = signal.signal(number, _do_nothing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former_wakeup)
        self._here.close()
        self._there.close()

    def attend(self, loop: Loop, on_signal: Callable[[int], None]) -> None:
        """Call `on_signal(number)` for each signal from now on, and for those that came since the start."""

        def read(_events: int) -> None:
            for number in self._here.recv(64):
                if number in self._former:
                    on_signal(number)

        loop.add(self._here.fileno(), EPOLLIN, read)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """The number is in the socket pair already."""
