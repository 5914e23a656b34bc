"""A playground that a program leads: it says who starts when, takes part itself, and reads what was said.

    declared ── entered: all namespaces stand ── start, wait, run code, stop … ── left: over, `result`

The program has a seat of its own, a process of the run whose part it plays: `inside` for its own sockets,
`run` for a command, `call` for a function in a fork. In a replay processes that are not `live` are played
from the dump, and the seat is a live one: what the program says is compared with what it said then.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace as changed
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from netplayground.api import inside
from netplayground.api.call import call_in
from netplayground.api.commands import Pipes
from netplayground.api.dump import Conversation, Dump, open_dump
from netplayground.api.plg import Plg
from netplayground.api.process import WAIT_S, Process
from netplayground.api.results import Output, Recorded, Replayed, diverged_words, recorded, replayed
from netplayground.api.runs import text_of
from netplayground.api.seat import Seat, status_of
from netplayground.errors import (
    PlaygroundOverError,
    RunFailedError,
    UsageError,
    WaitTimeoutError,
)
from netplayground.replay.verdict import Divergence
from netplayground.session.order import Commands, Order, lines_of, words_of
from netplayground.session.outcome import CANNOT_WORK, DIVERGED, TIMED_OUT, ProcessOutcome
from netplayground.session.parcel import unpack
from netplayground.session.plan import (
    DEFAULT_GRACE_S,
    DEFAULT_MTU,
    DEFAULT_SUBNET,
    RecordOptions,
    name_commands,
)
from netplayground.session.replay_plan import MAX_SPEED, ReplayWords

T = TypeVar("T")

SEAT = "test"
_DESCRIPTOR = re.compile(r"/proc/self/fd/([0-9]+)")


class Playground:
    """Processes that this program leads; a context manager.

    `processes`: commands by name, or lines "name: command" (or commands alone: p1, p2, …). With `record` the
    run becomes that dump; with `replay` that one is played, and `live` says who runs of those declared,
    besides the seat; with neither it is recorded into a file without a name, for `dump` as long as there is
    this object. `seat` is the name under which this program takes part.

    `subnet`, `uid`, `gid`, `kill_signal`, `grace`, `timeout`, `mtu`, `keep_hostname` are as the command has
    them, and for a replay `speed`, `flood`, `ignore` and so on; `speed` is "max" here, unless said
    otherwise: a test does not wait for recorded time. `environment` comes on top of this program's own,
    `folder` is where commands run (the current one). Times are in seconds.

    Leaving it ends the run; `result` says how it was. A replay that diverged raises DivergedError then, a run
    that `timeout` ended RunFailedError, unless `check` is false or another exception is on its way. Nothing
    is left of a playground when it is left, and when this program is killed.
    """

    def __init__(
        self,
        processes: Commands = (),
        *,
        record: Path | str | None = None,
        replay: Path | str | None = None,
        live: Iterable[str] = (),
        seat: str = SEAT,
        check: bool = True,
        subnet: str | None = None,
        uid: str | int | None = None,
        gid: str | int | None = None,
        kill_signal: str | int = "TERM",
        grace: float = DEFAULT_GRACE_S,
        timeout: float | None = None,
        mtu: int = DEFAULT_MTU,
        keep_hostname: bool = False,
        environment: Mapping[str, str] | None = None,
        folder: Path | str | None = None,
        speed: float | str = MAX_SPEED,
        flood: bool = False,
        ignore: Iterable[str] = (),
        udp: str = "lossy",
        echo: Iterable[str] = (),
        patience: float = 0.2,
        stall: float = 10.0,
        strict_order: bool = False,
        on_divergence: str = "fail",
    ) -> None:
        if record is not None and replay is not None:
            raise UsageError("cannot record and replay in one playground: give one of them")
        self._commands = _named(processes)
        self._live = words_of(live)
        self.seat = seat
        self._check(replay is not None)
        self._dump = Path(os.path.abspath(path)) if (path := record or replay) is not None else None
        self._checks = check
        self._variables = dict(environment or {})
        self._folder = os.path.abspath(folder if folder is not None else os.getcwd())
        self._has_subnet = subnet is not None
        self._options = RecordOptions(
            self._dump or Path(),
            subnet=subnet or DEFAULT_SUBNET,
            uid=None if uid is None else str(uid),
            gid=None if gid is None else str(gid),
            kill_signal=str(kill_signal),
            grace_s=grace,
            until=(seat,),
            timeout_s=timeout,
            mtu=mtu,
            keep_hostname=keep_hostname,
        )
        self._replay: ReplayWords | None = None
        if replay is not None:
            self._replay = ReplayWords(
                speed=None if flood else str(speed),
                flood=flood,
                patience_s=patience,
                stall_s=stall,
                strict_order=strict_order,
                on_divergence=on_divergence,
                ignore=words_of(ignore),
                udp=udp,
                echo=words_of(echo),
            )
        self.result: Recorded | Replayed | None = None
        """How the run was, once the playground has been left."""
        self._processes: dict[str, Process] = {}
        self._outputs: dict[str, tuple[IO[bytes], IO[bytes]]] = {}
        self._kept = contextlib.ExitStack()
        self._plg: Plg | None = None

    def _check(self, is_replay: bool) -> None:
        if self.seat in self._commands:
            raise UsageError(
                f"cannot name a process {self.seat}: that is this program's seat; give another seat"
            )
        if self._live and not is_replay:
            raise UsageError("cannot say who is live in a recording: all are")
        for name in self._live:
            if name not in self._commands:
                raise UsageError(f"cannot run {name} live: no command is declared for it")
        for line in self._commands.values():
            if not line.strip() or line.strip() == "-":
                raise UsageError("cannot run an empty command: leave a process out that is not to run")

    # Coming and going.

    def __enter__(self) -> Playground:
        if self._plg is not None or self.result is not None:
            raise PlaygroundOverError("cannot enter a playground twice")
        with contextlib.ExitStack() as stack:
            self._enter(stack)
            self._kept = stack.pop_all()
        return self

    def _enter(self, stack: contextlib.ExitStack) -> None:
        if self._dump is None:
            with tempfile.TemporaryFile() as file:
                unnamed = os.dup(file.fileno())
            weakref.finalize(self, os.close, unnamed)  # what was said can be read after the end, too
            self._dump = Path(f"/proc/self/fd/{unnamed}")
        for name in self.live:
            self._outputs[name] = _unnamed_file(stack), _unnamed_file(stack)
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.settimeout(None)
        self._agent = Seat(here)
        stack.callback(self._agent.end)
        with there:
            self._plg = Plg(functools.partial(self._order, there.fileno()), {**os.environ, **self._variables})
        stack.callback(self._plg.close)
        addresses = self._plg.await_standing()
        self._processes = {
            name: Process(self, name, found) for name, found in addresses.items() if name != self.seat
        }
        unknown = [name for name in self._commands if name not in self._processes]
        if unknown:
            raise UsageError(
                f"cannot replay {', '.join(unknown)}: no such process in the recording, "
                f"there is {', '.join(addresses)}"
            )
        self._inside = inside.Inside(self._agent, addresses)

    def _order(self, seat_channel: int, control: int) -> Order:
        assert self._dump is not None
        without_name = _DESCRIPTOR.fullmatch(str(self._dump))
        return Order(
            leader=os.getpid(),
            control=control,
            options=changed(self._options, dump_path=self._dump),
            commands=tuple(f"{name}: {self._commands[name]}" for name in self.live),
            replay=self._replay,
            keeps_addresses=not self._has_subnet,
            outputs={name: (out.fileno(), err.fileno()) for name, (out, err) in self._outputs.items()},
            inherited=() if without_name is None else (int(without_name[1]),),
            seat=self.seat,
            seat_channel=seat_channel,
            folder=self._folder,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._plg is not None
        try:
            result = self._finish(in_order=error is None)
        except BaseException:
            if error is None:
                raise
            return  # what the program met first is what it hears of
        finally:
            self._kept.close()
        if error is not None:
            words = diverged_words(result, is_cut=True) if isinstance(result, Replayed) else None
            if words is not None and hasattr(error, "add_note"):  # Python 3.11
                error.add_note(words)
        elif self._checks:
            _require(result)

    def finish(self, *, in_order: bool = True) -> Recorded | Replayed:
        """End the run before the playground is left; how it was. A second time it says the same. A replay
        goes on until other live processes have heard all that they had heard, unless it is not to end in
        order."""
        return self._finish(in_order)

    def _finish(self, in_order: bool) -> Recorded | Replayed:
        if self.result is not None:
            return self.result
        plg, dump = self._standing(), self._dump
        assert dump is not None
        self._inside.shut_down()
        if in_order:
            self._agent.end()
        else:
            plg.end()
        summary, verdict = plg.finish()
        output = {name: Output(text_of(out), text_of(err)) for name, (out, err) in self._outputs.items()}
        if verdict is None:
            self.result = recorded(summary, dump, output)
        else:
            self.result = replayed(summary, verdict, dump, output)
        return self.result

    # Processes.

    @property
    def is_replay(self) -> bool:
        """Whether a dump is played."""
        return self._replay is not None

    @property
    def live(self) -> tuple[str, ...]:
        """Who runs, besides the seat."""
        return tuple(name for name in self._commands if self._replay is None or name in self._live)

    @property
    def processes(self) -> tuple[Process, ...]:
        """All but the seat, by position."""
        return tuple(self._processes.values())

    def __getitem__(self, name: str) -> Process:
        try:
            return self._processes[name]
        except KeyError:
            there = ", ".join(self._processes) or "none"
            raise UsageError(f"cannot find process {name}: there is {there}") from None

    def start(self, *names: str, listening: bool | int = False, timeout: float = WAIT_S) -> Process:
        """`Process.start` of each, one after the other; without names of all. The last of them."""
        process = None
        for name in names or tuple(self._processes):
            process = self[name].start(listening, timeout)
        if process is None:
            raise UsageError("cannot start anything: no process is declared")
        return process

    def wait_until_listening(
        self, name: str, port: int | None = None, timeout: float = WAIT_S
    ) -> tuple[int, ...]:
        """`Process.wait_until_listening`."""
        return self[name].wait_until_listening(port, timeout)

    def stop(self, name: str) -> ProcessOutcome:
        """`Process.stop`."""
        return self[name].stop()

    def command(self, name: str) -> str:
        """The command of a process; '-' where it is played from the dump."""
        return self._commands[name] if name in self.live else "-"

    def position(self, name: str) -> int:
        """Its position in the run, from 1 on."""
        return [*self._processes, self.seat].index(name) + 1

    # This program's part.

    def inside(self) -> inside.Inside:
        """While it is entered, sockets that Python makes (IPv4, IPv6) are in the playground, and the names of
        processes are known; in the whole program, but for threads that have entered another playground, or
        are `outside`. C libraries and child processes are not: they want `call` and `run`."""
        self._standing()
        return self._inside

    def outside(self) -> contextlib.AbstractContextManager[None]:
        """The calling thread makes sockets as if it were not inside."""
        return inside.outside()

    def run(
        self,
        command: str | Sequence[str],
        *,
        input: str | bytes = b"",
        timeout: float | None = None,
        check: bool = False,
        environment: Mapping[str, str] | None = None,
        folder: Path | str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of the shell, or words, in the seat to its end: as subprocess.run with text. What it
        says is UTF-8; other bytes are replaced. Its environment is this program's, with the seat's on top.

        WaitTimeoutError after so many seconds, and it is killed; with `check`, subprocess.CalledProcessError
        for a status that is not 0.
        """
        self._standing()
        line = command if isinstance(command, str) else shlex.join(command)
        given = input.encode() if isinstance(input, str) else input
        variables = {**os.environ, **inside.NO_PROXY, **self._variables, **(environment or {})}
        where = os.path.abspath(folder) if folder is not None else self._folder
        with Pipes(given) as pipes, self._agent.run(line, variables, where, pipes.theirs) as conversation:
            if not pipes.carry_until(conversation.fileno(), timeout):
                raise WaitTimeoutError(
                    f"cannot wait any longer: {timeout:g} s are over before its end: {line}"
                )
            status = os.waitstatus_to_exitcode(status_of(conversation))
            said = [part.decode(errors="replace") for part in pipes.said]
        completed = subprocess.CompletedProcess(command, status, *said)
        if check:
            completed.check_returncode()
        return completed

    def call(
        self, function: Callable[..., T], /, *args: object, timeout: float | None = None, **kwargs: object
    ) -> T:
        """Call a function in a fork of this program that is in the seat's namespaces, with all of Python and
        its C libraries, as this program's user; its result, or its exception. Both are pickled; what else it
        changes stays in the fork.

        CallError where it was killed or cannot be pickled; WaitTimeoutError after so many seconds.
        """
        plg = self._standing()
        namespaces = self._agent.namespaces()
        try:
            return call_in(
                namespaces,
                functools.partial(function, *args, **kwargs),
                timeout,
                self._acting(plg),
                inside.forget,
            )
        finally:
            for descriptor in namespaces.values():
                os.close(descriptor)

    def _acting(self, plg: Plg) -> Callable[[int], contextlib.AbstractContextManager[None]]:
        """A fork plays the seat's part, too: a replay waits while it computes."""

        @contextlib.contextmanager
        def acting(pid: int) -> Iterator[None]:
            plg.ask("acts", pid=pid)
            try:
                yield
            finally:
                with contextlib.suppress(PlaygroundOverError):
                    plg.ask("rests", pid=pid)

        return acting

    # What was said.

    def dump(self) -> Dump:
        """What has been recorded so far, or is played; to be closed."""
        if self._dump is None:
            raise PlaygroundOverError("cannot read the dump: the playground has not been entered")
        if self.result is None and not self.is_replay:
            self._ask("flush")
        return open_dump(self._dump)

    def conversations(
        self, client: str | None = None, server: str | None = None, port: int | None = None
    ) -> tuple[Conversation, ...]:
        """What was said on each connection so far: `Dump.conversations`, in memory. In a replay: what had
        been said in the recording when this program had come as far as it has now."""
        with self.dump() as dump:
            found = dump.conversations(client, server, port)
            if not self.is_replay or self.result is not None:
                return tuple(found)
            said: dict[int, tuple[int, int]] = unpack(self._ask("said")["value"])
            return tuple(
                Conversation(each.connection, each.sent[: lengths[0]], each.received[: lengths[1]])
                for each in found
                if (lengths := said.get(each.connection.id)) is not None
            )

    def divergences(self, wait: float = 0.0) -> tuple[Divergence, ...]:
        """What live processes, this program among them, have done otherwise than recorded so far, the first
        of it; after the end all. What is missing is known at the end only. It `wait`s so many seconds at most
        until other live processes have come as far as this program."""
        if isinstance(self.result, Replayed):
            return self.result.verdict.divergences
        with contextlib.suppress(WaitTimeoutError):
            self._ask("caught-up", wait)
        found: tuple[Divergence, ...] = unpack(self._ask("divergences")["value"])
        return found

    def _standing(self) -> Plg:
        if self._plg is None or self.result is not None:
            raise PlaygroundOverError(
                "cannot ask for anything: the playground has not been entered, or is over"
            )
        return self._plg

    def _ask(self, what: str, timeout: float | None = None, **fields: object) -> Mapping[str, Any]:
        return self._standing().ask(what, timeout, **fields)

    def _said(self, name: str, stream: int) -> str:
        pair = self._outputs.get(name)
        if pair is None:
            return ""
        if self.result is not None:
            output = self.result.output[name]
            return output.stderr if stream else output.stdout
        return text_of(pair[stream])


def _named(processes: Commands) -> dict[str, str]:
    lines = lines_of(processes)
    return dict(name_commands(lines)) if lines else {}


def _unnamed_file(stack: contextlib.ExitStack) -> IO[bytes]:
    return stack.enter_context(tempfile.TemporaryFile())


def _require(result: Recorded | Replayed) -> None:
    """Raise what is wrong with a run as a whole; how a process ended is the program's to judge."""
    if isinstance(result, Replayed) and result.has_diverged and result.status == DIVERGED:
        result.require_clean()
    if result.status in (CANNOT_WORK, TIMED_OUT):
        raise RunFailedError(f"the playground was ended: {result.reason}", result, result.status)
