"""The plan of a replay: the words of its command line, against the recording that is to be played."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from netplayground.dump.model import Process
from netplayground.errors import UsageError
from netplayground.replay.casting import cast
from netplayground.replay.options import (
    SECOND_NS,
    OnDivergence,
    Pace,
    ReplayOptions,
    Strictness,
    parse_echo_rule,
)
from netplayground.session.plan import (
    SUBNET6,
    Caller,
    Plan,
    PlannedProcess,
    RecordOptions,
    address_in,
    are_named,
    name_commands,
    parse_subnet,
    plan_run,
)

MAX_SPEED = "max"


@dataclass(frozen=True, slots=True)
class ReplayWords:
    """The options that a replay has beyond a recording's, as the command line has them, unchecked."""

    speed: str | None = None
    flood: bool = False
    patience_s: float = 0.2
    stall_s: float = 10.0
    strict_order: bool = False
    on_divergence: str = "fail"
    ignore: tuple[str, ...] = ()
    udp: str = "lossy"
    echo: tuple[str, ...] = ()
    report_path: Path | None = None


def plan_replay(
    options: RecordOptions, commands: Sequence[str], recorded: Sequence[Process], caller: Caller
) -> Plan:
    """The plan of a replay: every process of the recording, live or canned; UsageError where the words make
    none."""
    subnet = parse_subnet(options.subnet)
    chosen = cast(recorded, name_commands(commands), are_named(commands))
    processes = tuple(
        PlannedProcess(
            process.name,
            process.position,
            command,
            address_in(subnet, process.position, len(recorded)),
            SUBNET6[process.position],
        )
        for process, command in zip(recorded, chosen, strict=True)
    )
    canned = {process.name for process in processes if not process.is_live}
    # Who is canned is always ready, and its end ends nothing: the words of the recording may stay.
    ready = tuple(text for text in options.ready if text.partition(":")[0] not in canned)
    until = tuple(name for name in options.until if name not in canned)
    return plan_run(replace(options, ready=ready, until=until), subnet, processes, caller)


def plan_pace(words: ReplayWords) -> ReplayOptions:
    """How the tape is to be played."""
    pace, speed = _parse_speed(words)
    return ReplayOptions(
        pace=pace,
        speed=speed,
        patience_ns=_nanoseconds("--patience", words.patience_s),
        stall_ns=_nanoseconds("--stall", words.stall_s),
        strict_order=words.strict_order,
        on_divergence=OnDivergence(words.on_divergence),
        ignore=tuple(_parse_bytes(text) for text in words.ignore),
        udp=Strictness(words.udp),
        echo=tuple(parse_echo_rule(text) for text in words.echo),
    )


def _parse_speed(words: ReplayWords) -> tuple[Pace, float]:
    if words.flood:
        if words.speed is not None:
            raise UsageError("cannot use --speed with --flood: a flood keeps neither time nor order")
        return Pace.FLOOD, 1.0
    if words.speed is None:
        return Pace.TIMED, 1.0
    if words.speed == MAX_SPEED:
        return Pace.MAX, 1.0
    try:
        speed = float(words.speed)
    except ValueError:
        speed = math.nan
    if not (math.isfinite(speed) and 1e-6 <= speed <= 1e6):
        raise UsageError(f"cannot use --speed {words.speed}: not a number above 0, nor '{MAX_SPEED}'")
    return Pace.TIMED, speed


def _nanoseconds(option: str, seconds: float) -> int:
    if not (math.isfinite(seconds) and 0 <= seconds <= 1e9):
        raise UsageError(f"cannot use {option} {seconds:g}: not a number of seconds from 0 up")
    return int(seconds * SECOND_NS)


def _parse_bytes(text: str) -> bytes:
    """A regular expression on bytes: what the shell handed over, octet by octet."""
    return text.encode("utf-8", "surrogateescape")


def changed_addresses(recorded: Sequence[Process], plan: Plan) -> Mapping[str, str]:
    """The textual address that each process had in the recording, and the one that it has now; those that
    stayed are left out."""
    now = {process.name: {4: process.address4, 6: process.address6} for process in plan.processes}
    changed: dict[str, str] = {}
    for process in recorded:
        for address in process.addresses:
            new = now[process.name][address.version]
            if new != address:
                changed[str(address)] = str(new)
    return changed
