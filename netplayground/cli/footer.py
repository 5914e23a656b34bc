"""Some lines at the bottom of a terminal, which are written over again and again; what else is said scrolls
above them.

Nothing of the terminal's state is changed (its cursor stays, its lines wrap), so whoever ends at any moment
leaves nothing to be restored: what is drawn is erased by what is drawn next, in one write(2). A job in the
background draws nothing, and after a stop what was drawn is the shell's to scroll.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from types import FrameType

_SMALLEST = 20, 4  # columns, rows
_USUAL = os.terminal_size((80, 24))
_ERASE_BELOW = b"\x1b[J"
_PLAIN = b"\x1b[0m"  # whatever what was said above has switched on
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def can_draw(descriptor: int) -> bool:
    """Whether it is a terminal that can erase what stands on it."""
    return os.isatty(descriptor) and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


class Footer:
    """The lines at the bottom of one terminal."""

    def __init__(self, descriptor: int, write: Callable[[int, bytes], None]) -> None:
        self._descriptor = descriptor
        self._write = write
        self._drawn: list[int] = []  # the width of each line that stands there
        self._text = b""
        signal.signal(signal.SIGCONT, self._on_continue)

    @property
    def is_drawn(self) -> bool:
        return bool(self._drawn)

    def room(self) -> tuple[int, int] | None:
        """So many columns and lines may be drawn now. None: nothing, and nothing is drawn any more."""
        if not self._is_foreground():
            self._forget()
            return None
        columns, rows = self._size()
        if columns < _SMALLEST[0] or rows < _SMALLEST[1]:
            self.erase()
            return None
        return columns - 1, rows // 2

    def draw(self, lines: Sequence[str]) -> None:
        """Draw these, for which there is room, in place of what is drawn; they may have colours."""
        erasing = self._erasing()
        self._text = _PLAIN + "\n".join(lines).encode(errors="backslashreplace")
        self._drawn = [_width(line) for line in lines]
        self._write(self._descriptor, erasing + self._text)

    def write_above(self, data: bytes) -> None:
        """Whole lines, which stay."""
        if data:
            self._write(self._descriptor, self._erasing() + data + self._text)

    def erase(self) -> None:
        """Let nothing of it be left."""
        if self._drawn:
            self._write(self._descriptor, self._erasing())
        self._forget()

    def _erasing(self) -> bytes:
        """From the end of the last line back to where the first begins. Lines that the window has become too
        narrow for stand on several rows now, as most terminals have it."""
        if not self._drawn:
            return b""
        columns, rows = self._size()
        above = sum(max(1, -(-width // max(1, columns))) for width in self._drawn) - 1
        up = min(above, rows - 1)
        return b"\r" + (b"\x1b[%dA" % up if up > 0 else b"") + _PLAIN + _ERASE_BELOW

    def _size(self) -> os.terminal_size:
        size = os.get_terminal_size(self._descriptor)
        return size if size.columns and size.lines else _USUAL  # a serial line knows of none

    def _is_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return True  # a terminal, but not the one that controls us: nobody else's shell is on it

    def _on_continue(self, _number: int, _frame: FrameType | None) -> None:
        self._forget()

    def _forget(self) -> None:
        self._drawn, self._text = [], b""


def _width(line: str) -> int:
    """How many columns a line takes."""
    from rich.cells import cell_len  # whoever draws has it already

    return cell_len(_COLOUR.sub("", line))
