"""What a Python program uses: recordings, replays, dumps and playgrounds as functions and values."""

from __future__ import annotations

from netplayground.api.dump import Chunk, Conversation, Datagram, Dump, open_dump
from netplayground.api.playground import Playground
from netplayground.api.process import Process
from netplayground.api.results import Output, Recorded, Replayed
from netplayground.api.runs import record, replay

__all__ = [
    "Chunk",
    "Conversation",
    "Datagram",
    "Dump",
    "Output",
    "Playground",
    "Process",
    "Recorded",
    "Replayed",
    "open_dump",
    "record",
    "replay",
]
