"""What a replay can play, opened from the command line: an import is told on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from netplayground.cli.words import tell
from netplayground.dump.recording import Recording
from netplayground.session import playable


def open_playable(path: Path, names: Sequence[str]) -> AbstractContextManager[Recording]:
    """Open a recording or a capture, as `session.playable` does."""
    return playable.open_playable(path, names, tell)
