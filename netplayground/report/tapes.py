"""A recording as a tape whose bytes are what was written."""

from __future__ import annotations

from netplayground.dump.recording import Recording
from netplayground.dump.soundness import Soundness
from netplayground.replay.tape import Tape, load_tape


def sound_tape(recording: Recording) -> Tape:
    """The tape of a recording; reading from it raises DamagedDumpError where the dump is damaged."""
    tape = load_tape(recording)
    soundness = Soundness(recording)

    def read(offset: int, length: int) -> bytes:
        soundness.assure(offset, length)
        return recording.read(offset, length)

    tape.read = read
    return tape
