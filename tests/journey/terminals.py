"""plg on a terminal of its own, at which a test types and looks."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import pyte
from journey import leftovers
from journey.runs import ORDERLY_S, Place

DEADLINE_S = 20.0


class Screen:
    """A command line that runs on a terminal; at the end it is over, and nothing of it is left."""

    def __init__(self, command: Sequence[str], place: Place, columns: int = 80, rows: int = 24) -> None:
        leftovers.adopt_orphans()
        self._place, self._before = place, leftovers.look(place.temporary)
        self.received = b""
        self.status: int | None = None
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(place.path)
            os.environ.update(place.environment())
            os.environ.setdefault("TERM", "xterm-256color")
            os.environ.pop("NO_COLOR", None)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execvp(command[0], list(command))

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)
        left = leftovers.left_since(self._before, self._place.temporary, ORDERLY_S)
        assert kind is not None or not left, left

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        """As a window does that is pulled at."""
        self._screen.resize(rows, columns)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        """What stands on the screen now, without empty lines at its end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def text(self) -> str:
        """All that stands on it or has gone out at its top."""
        above = [
            "".join(row[column].data for column in range(self._screen.columns)).rstrip()
            for row in self._screen.history.top
        ]
        return "\n".join([*above, *self.lines])

    @property
    def shows_cursor(self) -> bool:
        return not self._screen.cursor.hidden

    def await_text(self, wanted: str) -> None:
        self.await_that(lambda: wanted in "\n".join(self.lines), repr(wanted))

    def await_that(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self._read(deadline - time.monotonic()), f"no {what}: {self.text}"

    def await_end(self) -> int:
        """Wait until the command has ended; its status."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(deadline - time.monotonic()):
            pass
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def read_now(self) -> bool:
        """Take what there is; False at the end."""
        return self._read(DEADLINE_S)

    def _read(self, timeout: float) -> bool:
        """Whether there was more to read in time."""
        assert timeout > 0 and select.select([self.descriptor], [], [], timeout)[0], f"too late: {self.text}"
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:
            return False  # EIO: nobody has the terminal open any more
        self.received += data
        self._stream.feed(data)
        return bool(data)
