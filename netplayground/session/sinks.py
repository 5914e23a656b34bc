"""What the programs of a led run say goes into files, which the leader reads at any time.

Between a program and its file is a pipe, for whoever opens /dev/stdout anew would write over the beginning of
a file. The run's loop carries what comes; a file never keeps it waiting.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from select import EPOLLIN

from netplayground.errors import PlaygroundError
from netplayground.sandbox.command import Streams
from netplayground.traffic.loop import Loop

_LARGEST = 1 << 18
_OTHERS_MAY_WRITE = 0o622  # a server that has dropped to a user of its own opens /dev/stderr anew


class Sinks:
    """The pipes of a run's programs, each before its file."""

    def __init__(self, files: Mapping[str, tuple[int, int]]) -> None:
        """`files`: by process, descriptors for its stdout and stderr; they stay open."""
        self._files: dict[int, tuple[str, int]] = {}  # pipe -> the process, its file
        self._ends: list[int] = []
        self.streams = {
            name: Streams(*(self._pipe(name, file) for file in pair)) for name, pair in files.items()
        }

    def _pipe(self, name: str, file: int) -> int:
        here, there = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(here, False)
        os.fchmod(there, _OTHERS_MAY_WRITE)
        self._files[here] = name, file
        self._ends.append(there)
        return there

    def attend(self, loop: Loop) -> None:
        """Carry from now on; whoever is to speak has been born."""
        self._let_go()
        for pipe in self._files:
            loop.add(pipe, EPOLLIN, self._reader(loop, pipe))

    def close(self) -> None:
        """Carry what is left, when nobody speaks any more."""
        self._let_go()
        for pipe in self._files:
            while self._carry(pipe):
                pass
            os.close(pipe)
        self._files.clear()

    def _let_go(self) -> None:
        for end in self._ends:
            os.close(end)
        self._ends.clear()

    def _reader(self, loop: Loop, pipe: int) -> Callable[[int], None]:
        def read(_events: int) -> None:
            if self._carry(pipe) is None:
                loop.remove(pipe)

        return read

    def _carry(self, pipe: int) -> bool | None:
        """Whether there may be more; None at the pipe's end."""
        name, file = self._files[pipe]
        try:
            data = os.read(pipe, _LARGEST)
        except BlockingIOError:
            return False
        if not data:
            return None
        try:
            while data:
                data = data[os.write(file, data) :]
        except OSError as error:
            raise PlaygroundError(f"cannot keep what {name} says: {error.strerror}") from error
        return True
