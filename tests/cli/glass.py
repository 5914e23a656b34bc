"""A terminal in memory: what is written to it, as it would stand on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
from typing import TextIO

import pyte
import pytest


class Glass:
    """A terminal of the kernel's, and a screen that shows what comes out of it."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._there, self.descriptor = pty.openpty()
        self.received = b""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(columns, rows)

    def close(self) -> None:
        os.close(self._there)
        os.close(self.descriptor)

    def resize(self, columns: int, rows: int) -> None:
        """As a window does that is pulled at: the row of the cursor stays in sight."""
        assert self.lines
        screen, y = self._screen, self._screen.cursor.y
        lost = max(0, y - rows + 1)
        # pyte cuts off as many rows at the top as the window loses.
        if rows < screen.lines:
            screen.cursor_position()
            screen.insert_lines(screen.lines - rows - lost)
        screen.resize(rows, columns)
        screen.cursor.y = y - lost
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        """What stands on it, without empty lines at its end."""
        os.set_blocking(self._there, False)
        while True:
            try:
                data = os.read(self._there, 65536)
            except BlockingIOError:
                break
            self.received += data
            self._stream.feed(data)
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    def become_stderr(self, monkeypatch: pytest.MonkeyPatch) -> TextIO:
        """Let Python's stderr be this terminal."""
        stream = open(self.descriptor, "w", closefd=False)  # noqa: SIM115
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        return stream


class Time:
    """A clock that stands until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
