"""Who says what: bytes of several speakers become lines of one stream, each with its speaker's name.

A line goes out when it is whole, so that no two speakers are ever mixed within one. What has waited for its
line end for a moment (a prompt, a progress) goes out all the same, and its line stays *open*: what the same
speaker says next goes on there; if another one speaks first, it gets a new line. Bytes are never decoded. On
a terminal a carriage return does not write over the name: it stands after it again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

PATIENCE_S = 0.1
LONGEST = 1 << 16
"""A line that is longer goes out in pieces."""

_RETURN = re.compile(rb"\r(?![\r\n])")
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # SGR: cyan, yellow, green, magenta, blue; then bright


def name_prefixes(names: Sequence[str], in_colour: bool) -> list[bytes]:
    """'name | ' for each, all of one width. A colour ends what lines before it have left switched on."""
    width = max(map(len, names), default=0)
    texts = [f"{name:{width}} | " for name in names]
    if in_colour:
        texts = [
            f"\x1b[0;{_COLOURS[number % len(_COLOURS)]}m{text}\x1b[0m" for number, text in enumerate(texts)
        ]
    return [text.encode() for text in texts]


class Lines:
    """Takes what each speaker says and answers what is to be written."""

    def __init__(self, prefixes: Sequence[bytes], is_terminal: bool) -> None:
        """A speaker is known by his place in `prefixes`."""
        self._prefixes = prefixes
        self._is_terminal = is_terminal
        self._waiting = [b""] * len(prefixes)
        self._since: dict[int, float] = {}  # whose bytes wait, and when the first of them came
        self._open: int | None = None

    def take(self, speaker: int, data: bytes, now: float) -> bytes:
        """A speaker said this."""
        whole, rest = self._cut(self._waiting[speaker] + data)
        out = self._emit(speaker, whole) if whole else b""
        if len(rest) > LONGEST:
            out += self._emit(speaker, rest)
            rest = b""
        if whole or not rest:
            self._since.pop(speaker, None)
        if rest:
            self._since.setdefault(speaker, now)
        self._waiting[speaker] = rest
        return out

    def show_waiting(self, now: float) -> bytes:
        """What has waited long enough."""
        out = b""
        for speaker, since in list(self._since.items()):
            if now >= since + PATIENCE_S:
                del self._since[speaker]
                shown, kept = self._without_return(self._waiting[speaker])
                self._waiting[speaker] = kept
                out += self._emit(speaker, shown)
        return out

    def next_time(self) -> float | None:
        """When `show_waiting` has something to show, if nobody says more."""
        return min(self._since.values()) + PATIENCE_S if self._since else None

    def waiting(self) -> list[tuple[int, bytes]]:
        """Who has begun a line that is not out, and what is in it."""
        return [(speaker, data) for speaker, data in enumerate(self._waiting) if data.strip(b"\r")]

    def end(self, speaker: int) -> bytes:
        """A speaker says no more: his last line ends, too."""
        self._since.pop(speaker, None)
        rest, self._waiting[speaker] = self._waiting[speaker], b""
        if rest:
            return self._emit(speaker, rest + b"\n")
        return self.end_line() if self._open == speaker else b""

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        at = data.rfind(b"\n") + 1
        return data[:at], data[at:]

    def _without_return(self, data: bytes) -> tuple[bytes, bytes]:
        """A last carriage return waits: what comes next says whether a line end follows."""
        if self._is_terminal and data.endswith(b"\r"):
            return data[:-1], b"\r"
        return data, b""

    def _emit(self, speaker: int, data: bytes) -> bytes:
        if not data:
            return b""
        prefix = self._prefixes[speaker]
        begin = b"" if self._open == speaker else self.end_line() + prefix
        self._open = None if data.endswith(b"\n") else speaker
        if not prefix:
            return begin + data
        if self._is_terminal and b"\r" in data:
            data = _RETURN.sub(b"\r" + prefix.replace(b"\\", b"\\\\"), data)
        inner, last = (data[:-1], b"\n") if data.endswith(b"\n") else (data, b"")
        return begin + inner.replace(b"\n", b"\n" + prefix) + last

    def end_line(self) -> bytes:
        """Whoever speaks next begins a line."""
        is_open, self._open = self._open is not None, None
        return b"\n" if is_open else b""
