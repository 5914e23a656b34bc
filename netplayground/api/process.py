"""One process of a playground, as the program that leads it has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netplayground.errors import ProcessEndedError, WaitTimeoutError
from netplayground.session.outcome import ProcessOutcome, parse_ending
from netplayground.session.plan import parse_signal

if TYPE_CHECKING:
    from netplayground.api.playground import Playground

WAIT_S = 30.0
_LAST_WORDS = 4096


class Process:
    """One process of a playground, by its name."""

    def __init__(self, playground: Playground, name: str, addresses: Sequence[str]) -> None:
        self._playground = playground
        self.name = name
        self.addresses = tuple(addresses)
        """IPv4's first, as text."""

    def __repr__(self) -> str:
        return f"<process {self.name} at {self.address}>"

    @property
    def address(self) -> str:
        """The IPv4 address."""
        return self.addresses[0]

    @property
    def is_live(self) -> bool:
        """Whether it runs, and is not played from a dump."""
        return self.name in self._playground.live

    def start(self, listening: bool | int = False, timeout: float = WAIT_S) -> Process:
        """Let its command run, once in a playground; with `listening` wait until it listens on any port, or
        on that one. One that is played from the dump is always there. Errors as of `wait_until_listening`."""
        self._playground._ask("start", process=self.name)
        if listening is not False:
            self.wait_until_listening(None if listening is True else listening, timeout)
        return self

    def wait_until_listening(self, port: int | None = None, timeout: float = WAIT_S) -> tuple[int, ...]:
        """Wait until it listens (TCP) on a port, or on any; the ports on which it does. Nobody connects to it
        for that. ProcessEndedError as soon as it has ended; WaitTimeoutError after so many seconds."""
        what = "on a port" if port is None else f"on port {port}"
        with self._named_timeout(f"listens {what}", timeout):
            answer = self._playground._ask("await-listening", timeout, process=self.name, port=port)
        if "ended" in answer:
            raise self._ended(answer, f"listened {what}")
        return tuple(answer.get("ports", ()))

    def wait(self, timeout: float | None = None) -> ProcessOutcome:
        """Wait until its command ends by itself; how it did. WaitTimeoutError after so many seconds."""
        with self._named_timeout("ends", timeout):
            return self._outcome(self._playground._ask("await-end", timeout, process=self.name))

    def stop(self) -> ProcessOutcome:
        """End it: the kill signal, the grace, SIGKILL; how it ended. Nothing of it is left then."""
        return self._outcome(self._playground._ask("stop", process=self.name))

    def signal(self, number: int | str) -> None:
        """Send its command's process group a signal ("HUP", 1)."""
        number = int(number) if isinstance(number, int) else number
        self._playground._ask("signal", process=self.name, number=parse_signal(str(number)))

    @property
    def stdout(self) -> str:
        """What it has said on stdout so far."""
        return self._playground._said(self.name, 0)

    @property
    def stderr(self) -> str:
        """What it has said on stderr so far."""
        return self._playground._said(self.name, 1)

    @contextlib.contextmanager
    def _named_timeout(self, does: str, timeout: float | None) -> Iterator[None]:
        try:
            yield
        except WaitTimeoutError:
            words = f"cannot wait for {self.name} any longer: {timeout:g} s are over before it {does}"
            raise WaitTimeoutError(words + self._last_words()) from None

    def _ended(self, answer: Mapping[str, Any], what: str) -> ProcessEndedError:
        outcome = self._outcome(answer)
        stderr = self.stderr
        words = f"cannot wait for {self.name}: it {outcome.describe()} before it {what}{self._last_words()}"
        return ProcessEndedError(words, self.name, outcome.status, stderr)

    def _outcome(self, answer: Mapping[str, Any]) -> ProcessOutcome:
        position = self._playground.position(self.name)
        outcome = ProcessOutcome(self.name, position, self._playground.command(self.name))
        return parse_ending(outcome, answer.get("ended", {}))

    def _last_words(self) -> str:
        said = self.stderr[-_LAST_WORDS:].rstrip() or self.stdout[-_LAST_WORDS:].rstrip()
        return f"\nits last words:\n{said}" if said else ""
