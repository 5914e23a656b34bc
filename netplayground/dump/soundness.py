"""Whether what a replay takes from a dump is what was written: each MiB is summed before its first use.

Opening a dump compares no CRC-32 of the payload, for that would read all of it. A byte that changed on the
disk must not be played to anyone, nor be taken for what a process should have said.
"""

from __future__ import annotations

from netplayground.dump.check import recorded_sums
from netplayground.dump.crc import crc32
from netplayground.dump.index import WINDOW
from netplayground.dump.model import State
from netplayground.dump.reader import Dump
from netplayground.dump.recording import Recording


class Soundness:
    """Sums the MiBs of a complete dump; others have no CRC-32 to compare."""

    __slots__ = ("_dump", "_is_sound", "_sums", "_view")

    def __init__(self, recording: Recording) -> None:
        is_summed = isinstance(recording, Dump) and recording.state is State.COMPLETE
        self._dump = recording if is_summed and isinstance(recording, Dump) else None
        self._sums = recorded_sums(self._dump) if self._dump is not None else None
        # One buffer for all: a fresh MiB each time costs as much as its sum.
        self._view = memoryview(bytearray(WINDOW if self._sums is not None else 0))
        self._is_sound = bytearray(len(self._sums) if self._sums is not None else 0)

    def assure(self, offset: int, length: int) -> None:
        """DamagedDumpError where these bytes may not be the ones that were written."""
        if self._sums is None or not length:
            return
        for window in range(offset // WINDOW, (offset + length - 1) // WINDOW + 1):
            if not self._is_sound[window]:
                self._compare(window)

    def _compare(self, window: int) -> None:
        dump, sums = self._dump, self._sums
        assert dump is not None and sums is not None
        at, after = window * WINDOW, min(dump.end, (window + 1) * WINDOW)
        piece = self._view[: after - at]
        dump.source.read_over(piece, at)
        if crc32(piece) != sums[window]:
            raise dump.source.damaged(f"the CRC-32 of bytes {at} to {after} is wrong", at)
        self._is_sound[window] = 1
