"""The plan of a replay: the words of its command line, against the recording that is to be played."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from netplayground.dump.model import Address, Process
from netplayground.errors import UsageError
from netplayground.replay.casting import cast
from netplayground.replay.masks import parse_masks
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
    parse_ready,
    parse_subnet,
    plan_run,
)

MAX_SPEED = "max"
_ADDRESSED = re.compile(r"(?P<address>[0-9A-Fa-f.:]+): (?P<command>.*)", re.DOTALL)


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


def plan_replay(
    options: RecordOptions,
    commands: Sequence[str],
    recorded: Sequence[Process],
    caller: Caller,
    keeps_addresses: bool = False,
) -> Plan:
    """The plan of a replay: every process of the recording, live or canned; UsageError where the words make
    none. `keeps_addresses`: processes have those of the recording, not those that the subnet gives them."""
    subnet = parse_subnet(options.subnet)
    named = [_with_name(command, recorded) for command in commands]
    chosen = cast(recorded, name_commands(named) if named else [], are_named(named))
    addresses = _recorded_addresses(recorded) if keeps_addresses else {}
    free = _free_addresses(subnet, recorded, addresses)
    processes = tuple(
        PlannedProcess(
            process.name,
            process.position,
            command,
            addresses.get((process.position, 4)) or next(free),  # type: ignore[arg-type]
            addresses.get((process.position, 6)) or SUBNET6[process.position],  # type: ignore[arg-type]
        )
        for process, command in zip(recorded, chosen, strict=True)
    )
    canned = {process.name for process in processes if not process.is_live}
    # Who is canned is always ready, and its end ends nothing: the words of the recording may stay.
    names = [process.name for process in processes]
    ready = tuple(text for text in options.ready if parse_ready(text, names).name not in canned)
    until = tuple(name for name in options.until if name not in canned)
    return plan_run(replace(options, ready=ready, until=until), subnet, processes, caller)


def _with_name(command: str, recorded: Sequence[Process]) -> str:
    """An address that a process had does for its name."""
    match = _ADDRESSED.fullmatch(command)
    if match is not None:
        for process in recorded:
            if match["address"] in map(str, process.addresses):
                return f"{process.name}: {match['command']}"
    return command


def _recorded_addresses(recorded: Sequence[Process]) -> dict[tuple[int, int], Address]:
    """The first address of each family that a process had, by its position and the version; but for those
    that no process of a playground can have."""
    found: dict[tuple[int, int], Address] = {}
    for process in recorded:
        for address in process.addresses:
            is_usable = not (address.is_loopback or address.is_link_local or address.is_unspecified)
            if is_usable and not address.is_multicast:
                found.setdefault((process.position, address.version), address)
    return found


def _free_addresses(
    subnet: IPv4Network, recorded: Sequence[Process], kept: Mapping[tuple[int, int], Address]
) -> Iterator[IPv4Address]:
    """Addresses for the processes that keep none, in order: the n-th for process n, or if another process
    has that, the next that nobody has."""
    taken = set(kept.values())
    last = max((process.position for process in recorded), default=0)
    lacking = [process.position for process in recorded if (process.position, 4) not in kept]
    for position in lacking:
        address = address_in(subnet, position, last)
        while address in taken:
            last += 1
            address = address_in(subnet, last, last)
        taken.add(address)
        yield address


def plan_pace(words: ReplayWords) -> ReplayOptions:
    """How the tape is to be played."""
    pace, speed = _parse_speed(words)
    ignore = tuple(_parse_bytes(text) for text in words.ignore)
    parse_masks(ignore)  # what is none is refused now, and not when everything stands
    return ReplayOptions(
        pace=pace,
        speed=speed,
        patience_ns=_nanoseconds("--patience", words.patience_s),
        stall_ns=_nanoseconds("--stall", words.stall_s),
        strict_order=words.strict_order,
        on_divergence=OnDivergence(words.on_divergence),
        ignore=ignore,
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
    return os.fsencode(text)


def changed_addresses(recorded: Sequence[Process], plan: Plan) -> Mapping[str, str]:
    """The textual address that each process had in the recording, and the one that it has now; those that
    stayed are left out."""
    now = {process.name: {4: process.address4, 6: process.address6} for process in plan.processes}
    changed: dict[str, str] = {}
    for process in recorded:
        for address in process.addresses:
            if address.is_link_local:
                continue  # nobody tells another of it
            new = now[process.name][address.version]
            if new != address:
                changed[str(address)] = str(new)
    return changed
