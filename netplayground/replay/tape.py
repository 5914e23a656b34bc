"""The tape: a recording's conversations as events in one total order."""

from __future__ import annotations


class Tape:
    """A recording, ready to be played."""
