"""The decisions of a replay: what live processes do goes in, what they are to hear comes out.

No descriptor, no clock: times are integer nanoseconds of any one clock that never goes back, handed in.
After every input take the actions, and call `on_timer` at the time that `deadline` names.
"""

from __future__ import annotations

from collections.abc import Sequence

from netplayground.replay.actions import Action
from netplayground.replay.casting import Role
from netplayground.replay.options import ReplayOptions
from netplayground.replay.tape import Tape
from netplayground.replay.verdict import Verdict


class Player:
    """Plays one tape to the live processes, once."""

    def __init__(self, tape: Tape, roles: Sequence[Role], options: ReplayOptions) -> None:
        """`roles` are in the order of the tape's processes."""

    def start(self, now: int) -> None:
        """The run begins; processes may start from here on."""

    def on_process_started(self, process: str, now: int) -> None:
        """A live process was let go: its time on the tape begins."""

    def on_process_exited(self, process: str, now: int) -> None:
        """A live process's command has ended; what its kernel still says may come after this."""

    def on_process_busy(self, process: str, is_busy: bool, now: int) -> None:
        """A thread of it runs, is in uninterruptible sleep or stopped by a debugger: its patience stands
        still. To be told only of those that `watched` names."""

    def watched(self) -> tuple[str, ...]:
        """The live processes whose patience or stall time is running out now."""
        raise NotImplementedError

    def on_syn(self, client: str, server: str | None, port: int, now: int) -> int:
        """A live client asks for a connection (a new SYN, not one again; None: nobody has that address).

        Gives the connection's id; hold the SYN until Accept, Refuse, Unreachable or Silence comes for it.
        """
        raise NotImplementedError

    def on_given_up(self, connection: int, now: int) -> None:
        """The live client gave up before it had an answer."""

    def on_connected(self, connection: int, now: int) -> None:
        """What Connect asked for stands."""

    def on_connect_failed(self, connection: int, now: int) -> None:
        """What Connect asked for came to nothing, however."""

    def on_bytes(self, connection: int, side: int, data: memoryview, now: int) -> None:
        """The live process on `side` said something; `data` is not kept."""

    def on_fin(self, connection: int, side: int, now: int) -> None:
        """The live process on `side` has said its last byte."""

    def on_reset(self, connection: int, side: int, now: int) -> None:
        """The live process on `side` aborted the connection."""

    def on_given(self, connection: int, side: int, count: int, now: int) -> None:
        """So many bytes more, of those that Give and GiveBytes were for, are in the kernel for `side`. To be
        said before anything else that this process does afterwards."""

    def on_timer(self, now: int) -> None:
        """Time has passed."""

    def take_actions(self) -> list[Action]:
        """What is to be done now, in this order."""
        raise NotImplementedError

    def deadline(self) -> int | None:
        """When `on_timer` wants to be called, whatever happens before; None: not at all."""
        raise NotImplementedError

    def finish(self, now: int) -> Verdict:
        """The run is over: what has not come by now is missing. Call once, at the end."""
        raise NotImplementedError
