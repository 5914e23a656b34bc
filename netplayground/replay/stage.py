"""Who carries out what the player decides, and the answers that it gives."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from netplayground.replay.exchange import Delivery
from netplayground.replay.part import Part
from netplayground.replay.tape import Outcome
from netplayground.replay.waiting import Activity


class Answer(Enum):
    """What becomes of a live client's SYN."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    UNREACHABLE = "unreachable"
    SILENCE = "silence"


ANSWERS = {
    Outcome.ACCEPTED: Answer.ACCEPT,
    Outcome.REFUSED: Answer.REFUSE,
    Outcome.UNREACHABLE: Answer.UNREACHABLE,
    Outcome.UNANSWERED: Answer.SILENCE,
    Outcome.ABORTED: Answer.SILENCE,
}


class Stage(Protocol):
    """Carries out what the player decides. `part.line` is its own."""

    def start(self, process: int) -> None:
        """The process's time has come."""

    def connect(self, part: Part) -> None:
        """Connect to the live server; answer with `on_connected` or `on_connect_failed`."""

    def give(self, part: Part, offset: int, length: int) -> bool:
        """Hand the process these bytes of the tape's file; whether it is to have no more before
        `on_drained`."""

    def fin(self, part: Part) -> None:
        """Close the direction toward the process, after all that it was given."""

    def reset(self, part: Part) -> None:
        """Abort the connection, after all that the process was given."""

    def deliver(self, process: int, delivery: Delivery, awaits_listener: bool) -> bool:
        """Hand the process a datagram; False when it `awaits_listener` and nobody listens on its port yet."""

    def signal(self, process: int) -> None:
        """Send the process the kill signal."""

    def look_at(self, process: int) -> Activity:
        """What its threads do."""

    def end(self, why: str) -> None:
        """End the run; comes once."""
