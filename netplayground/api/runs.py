"""A whole recording or replay, as the command makes it, from a program: it waits for the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace as changed
from pathlib import Path
from typing import IO

from netplayground.api.plg import Plg
from netplayground.api.results import Output, Recorded, Replayed, recorded, replayed
from netplayground.replay.casting import CANNED
from netplayground.replay.verdict import Verdict
from netplayground.session.order import Commands, Order, lines_of, words_of
from netplayground.session.outcome import RunSummary
from netplayground.session.plan import (
    DEFAULT_GRACE_S,
    DEFAULT_MTU,
    DEFAULT_SUBNET,
    RecordOptions,
    name_commands,
)
from netplayground.session.replay_plan import ReplayWords


def record(
    dump: Path | str,
    commands: Commands,
    *,
    subnet: str = DEFAULT_SUBNET,
    uid: str | int | None = None,
    gid: str | int | None = None,
    kill_signal: str | int = "TERM",
    grace: float = DEFAULT_GRACE_S,
    ready: Iterable[str] = (),
    until: Iterable[str] = (),
    timeout: float | None = None,
    mtu: int = DEFAULT_MTU,
    keep_hostname: bool = False,
    capture_output: bool = False,
    environment: Mapping[str, str] | None = None,
    folder: Path | str | None = None,
) -> Recorded:
    """Run commands, each in a network of its own, and record into `dump` what they say to one another.

    `commands` are lines as the command takes them ("db: redis-server", or without a name), or lines by name.
    The options are those of `plg --record`; times are in seconds, `mtu` is in bytes. `ready` has "NAME" or
    "NAME:PORT". What the commands print goes where this program's goes, or with `capture_output` into the
    result. `environment` comes on top of this program's own; commands run in `folder`.

    UsageError for words that cannot be, SandboxError where this machine lacks something, DumpError where the
    dump cannot be written. How the commands ended is in the result; `require_success` makes an error of that.
    """
    options = RecordOptions(
        Path(os.path.abspath(dump)),
        subnet=subnet,
        uid=None if uid is None else str(uid),
        gid=None if gid is None else str(gid),
        kill_signal=str(kill_signal),
        grace_s=grace,
        ready=words_of(ready),
        until=words_of(until),
        timeout_s=timeout,
        mtu=mtu,
        keep_hostname=keep_hostname,
    )
    run = _Run(options, lines_of(commands), environment, folder, capture_output)
    summary, _ = run.go()
    return recorded(summary, options.dump_path, run.output)


def replay(
    dump: Path | str,
    commands: Commands,
    *,
    subnet: str | None = None,
    names: Iterable[str] = (),
    uid: str | int | None = None,
    gid: str | int | None = None,
    kill_signal: str | int = "TERM",
    grace: float = DEFAULT_GRACE_S,
    ready: Iterable[str] = (),
    until: Iterable[str] = (),
    timeout: float | None = None,
    mtu: int = DEFAULT_MTU,
    keep_hostname: bool = False,
    speed: float | str = 1,
    flood: bool = False,
    ignore: Iterable[str] = (),
    udp: str = "lossy",
    echo: Iterable[str] = (),
    patience: float = 0.2,
    stall: float = 10.0,
    strict_order: bool = False,
    on_divergence: str = "fail",
    capture_output: bool = False,
    environment: Mapping[str, str] | None = None,
    folder: Path | str | None = None,
) -> Replayed:
    """Run commands of a recording again and let each hear what it heard; "-" in place of one, or its name
    left out: it is played from the dump.

    The options are those of `plg --replay`, and as of `record`; `names` ("10.1.2.3=db") are for a capture.
    The verdict is in the result; `require_clean` makes an error of a divergence. Errors as of `record`;
    NotADumpError, DamagedDumpError for what cannot be played.
    """
    options = RecordOptions(
        Path(os.path.abspath(dump)),
        subnet=subnet or DEFAULT_SUBNET,
        uid=None if uid is None else str(uid),
        gid=None if gid is None else str(gid),
        kill_signal=str(kill_signal),
        grace_s=grace,
        ready=words_of(ready),
        until=words_of(until),
        timeout_s=timeout,
        mtu=mtu,
        keep_hostname=keep_hostname,
    )
    words = ReplayWords(
        speed=None if flood and speed == 1 else str(speed),
        flood=flood,
        patience_s=patience,
        stall_s=stall,
        strict_order=strict_order,
        on_divergence=on_divergence,
        ignore=words_of(ignore),
        udp=udp,
        echo=words_of(echo),
    )
    run = _Run(options, lines_of(commands), environment, folder, capture_output)
    summary, verdict = run.go(words, words_of(names), keeps_addresses=subnet is None)
    assert verdict is not None
    return replayed(summary, verdict, options.dump_path, run.output)


class _Run:
    """One run, from the order to its end."""

    def __init__(
        self,
        options: RecordOptions,
        commands: tuple[str, ...],
        environment: Mapping[str, str] | None,
        folder: Path | str | None,
        captures: bool,
    ) -> None:
        self._options = options
        self._commands = commands
        self._environment = None if environment is None else {**os.environ, **environment}
        self._folder = os.path.abspath(folder if folder is not None else os.getcwd())
        self._captures = captures
        self.output: dict[str, Output] = {}

    def go(
        self, replay: ReplayWords | None = None, names: tuple[str, ...] = (), *, keeps_addresses: bool = True
    ) -> tuple[RunSummary, Verdict | None]:
        """Go to the end."""
        with ExitStack() as stack:
            files = {name: (_file(stack), _file(stack)) for name in self._captured()}
            order = Order(
                leader=os.getpid(),
                control=-1,
                options=self._options,
                commands=self._commands,
                replay=replay,
                keeps_addresses=keeps_addresses,
                names=names,
                outputs={name: (out.fileno(), err.fileno()) for name, (out, err) in files.items()},
                folder=self._folder,
            )
            plg = Plg(_with_control(order), self._environment)
            stack.callback(plg.close)
            result = plg.finish()
            self.output = {name: Output(text_of(out), text_of(err)) for name, (out, err) in files.items()}
            return result

    def _captured(self) -> list[str]:
        if not self._captures:
            return []
        return [name for name, command in name_commands(self._commands) if command != CANNED]


def _with_control(order: Order) -> Callable[[int], Order]:
    return lambda control: changed(order, control=control)


def _file(stack: ExitStack) -> IO[bytes]:
    return stack.enter_context(tempfile.TemporaryFile())


def text_of(file: IO[bytes]) -> str:
    """All that a file holds, as text, without moving its place."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")
