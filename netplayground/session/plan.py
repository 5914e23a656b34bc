"""What a run is to do: command line words checked and turned into a plan that needs no further question.

Pure: users and groups are looked up through the `Caller` that is handed in, and nothing here opens a file.
A word that cannot be is a `UsageError`, with what there is to choose from in its message.
"""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, NetmaskValueError
from pathlib import Path

from netplayground.errors import UsageError
from netplayground.replay.casting import CANNED

DEFAULT_SUBNET = "10.0.0.0/24"
DEFAULT_MTU = 1500
DEFAULT_GRACE_S = 5.0
SUBNET6 = IPv6Network("fd00:706c:67::/64")
SMALLEST_MTU = 1280  # RFC 8200 section 5: no link of IPv6 may carry less
LARGEST_MTU = 65535

_OWN_NAMES = frozenset({"LOCALHOST", "IP6_LOCALHOST", "IP6_LOOPBACK"})  # of every process's hosts file
_NAMED = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_-]{0,62}): (?P<command>.*)", re.DOTALL)
_READY = re.compile(r"(?P<name>[^:]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
# The kernel will not route these, or answers them itself.
_UNUSABLE = (
    (IPv4Network("0.0.0.0/8"), "is 'this network' (RFC 1122)"),
    (IPv4Network("127.0.0.0/8"), "is loopback"),
    (IPv4Network("224.0.0.0/3"), "is multicast or reserved"),
)


@dataclass(frozen=True, slots=True)
class User:
    """A user as /etc/passwd has it."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Caller:
    """Who started plg, and how names become numbers; a lookup raises KeyError for an unknown name."""

    uid: int
    gid: int
    find_user: Callable[[str | int], User]
    find_group: Callable[[str], int]


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """The options of a recording as the command line has them, unchecked."""

    dump_path: Path
    subnet: str = DEFAULT_SUBNET
    uid: str | None = None
    gid: str | None = None
    kill_signal: str = "TERM"
    grace_s: float = DEFAULT_GRACE_S
    ready: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    timeout_s: float | None = None
    mtu: int = DEFAULT_MTU
    keep_hostname: bool = False
    verbosity: int = 0
    debug: bool = False


@dataclass(frozen=True, slots=True)
class PlannedProcess:
    """One command of the run: its name, its position (1, 2, …) and its addresses."""

    name: str
    position: int
    command: str
    address4: IPv4Address
    address6: IPv6Address

    @property
    def is_live(self) -> bool:
        """Whether it runs, and is not played from a dump."""
        return self.command != CANNED


@dataclass(frozen=True, slots=True)
class ReadyRule:
    """Processes after `name` start once it listens: on `port`, or on any where that is None."""

    name: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, checked: every name in it is the name of one of its processes."""

    dump_path: Path
    subnet: IPv4Network
    processes: tuple[PlannedProcess, ...]
    uid: int | None
    gid: int | None
    kill_signal: int
    grace_s: float
    ready: tuple[ReadyRule, ...]
    until: tuple[str, ...]
    timeout_s: float | None
    mtu: int
    keep_hostname: bool
    verbosity: int
    debug: bool

    def awaited_by(self, process: PlannedProcess) -> tuple[ReadyRule, ...]:
        """The rules that must hold before this process starts: those of every process before it."""
        before = {other.name for other in self.processes[: process.position - 1]}
        return tuple(rule for rule in self.ready if rule.name in before)


def plan_record(options: RecordOptions, commands: Sequence[str], caller: Caller) -> Plan:
    """The plan of a recording; UsageError where the words make none."""
    subnet = parse_subnet(options.subnet)
    named = name_commands(commands)
    canned = [name for name, command in named if command == CANNED]
    if canned:
        raise UsageError(f"cannot record {_listed(canned)}: only a replay plays a process ('-') from a dump")
    processes = tuple(
        PlannedProcess(name, position, command, address_in(subnet, position, len(named)), SUBNET6[position])
        for position, (name, command) in enumerate(named, 1)
    )
    return plan_run(options, subnet, processes, caller)


def plan_run(
    options: RecordOptions, subnet: IPv4Network, processes: tuple[PlannedProcess, ...], caller: Caller
) -> Plan:
    """The plan of a run of these processes; UsageError where the other options make none."""
    names = [process.name for process in processes]
    uid, gid = parse_identity(options.uid, options.gid, caller)
    return Plan(
        dump_path=options.dump_path,
        subnet=subnet,
        processes=processes,
        uid=uid,
        gid=gid,
        kill_signal=parse_signal(options.kill_signal),
        grace_s=_check_seconds("--grace", options.grace_s, least=0.0),
        ready=tuple(dict.fromkeys(parse_ready(text, names) for text in options.ready)),
        until=tuple(dict.fromkeys(_check_known("--until", name, names) for name in options.until)),
        timeout_s=_check_timeout(options.timeout_s),
        mtu=_check_mtu(options.mtu),
        keep_hostname=options.keep_hostname,
        verbosity=options.verbosity,
        debug=options.debug,
    )


def are_named(commands: Sequence[str]) -> bool:
    """Whether commands carry names; `name_commands` refuses some with and some without."""
    return any(_NAMED.fullmatch(command) for command in commands)


def name_commands(commands: Sequence[str]) -> list[tuple[str, str]]:
    """Each command with its name: as in a Procfile ("db: postgres -D data"), or p1, p2, … by position."""
    if not commands:
        raise UsageError("cannot start a run: no COMMAND is given")
    matches = [_NAMED.fullmatch(command) for command in commands]
    named = [match for match in matches if match is not None]
    if not named:
        pairs = [(f"p{position}", command) for position, command in enumerate(commands, 1)]
    elif len(named) == len(commands):
        pairs = [(match["name"], match["command"]) for match in named]
    else:
        bare = [command for command, match in zip(commands, matches, strict=True) if match is None]
        raise UsageError(
            f"cannot mix named and unnamed commands: {_listed(match['name'] for match in named)} named, "
            f"without a name {_listed(repr(command) for command in bare)}"
        )
    _check_names([name for name, _ in pairs])
    empty = [name for name, command in pairs if not command.strip()]
    if empty:
        raise UsageError(f"cannot run {_listed(empty)}: the command is empty")
    return pairs


def _check_names(names: list[str]) -> None:
    """Two processes may not share a name, a host name (no case) or a variable (PLG_ADDR_NAME, '-' as '_')."""
    taken: dict[str, str] = {}
    clashes = []
    for name in names:
        key = name.upper().replace("-", "_")
        first = taken.get(key)
        if first is not None:
            clashes.append(name if name == first else f"{first} and {name}")
        taken.setdefault(key, name)
    if clashes:
        raise UsageError(f"cannot tell processes apart: {_listed(dict.fromkeys(clashes))} is given twice")
    for name in _OWN_NAMES & taken.keys():
        raise UsageError(f"cannot name a process {taken[name]}: every process has a localhost of its own")


def parse_subnet(text: str) -> IPv4Network:
    """An IPv4 subnet in which processes can have addresses."""
    if ":" in text:
        raise UsageError(f"cannot use subnet {text}: IPv4 only; the IPv6 addresses are always {SUBNET6}")
    try:
        subnet = IPv4Network(text)
    except (AddressValueError, NetmaskValueError):
        raise UsageError(f"cannot use subnet {text!r}: not like {DEFAULT_SUBNET}") from None
    except ValueError as error:
        right = IPv4Network(text, strict=False)
        raise UsageError(f"cannot use subnet {text}: host bits are set; {right} is meant?") from error
    for unusable, why in _UNUSABLE:
        if subnet.overlaps(unusable):
            raise UsageError(f"cannot use subnet {subnet}: {unusable} {why}")
    return subnet


def address_in(subnet: IPv4Network, position: int, processes: int) -> IPv4Address:
    """Process n has the n-th address of the subnet; up to /30 the first and the last of it are nobody's."""
    whole = subnet.prefixlen > 30  # RFC 3021: /31 and /32 have no network and no broadcast address
    room = subnet.num_addresses - (0 if whole else 2)
    if max(position, processes) > room:
        raise UsageError(f"cannot use subnet {subnet}: {max(position, processes)} processes, room for {room}")
    return subnet[position - 1 if whole else position]


def parse_signal(text: str) -> int:
    """A signal by name (TERM, SIGTERM, term) or number (15)."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if number in signal.valid_signals():
            return number
    else:
        name = text.upper()
        found = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
        if found is not None:
            return int(found)
    raise UsageError(f"cannot use signal {text!r}: not like TERM, SIGTERM or 15")


def parse_identity(uid: str | None, gid: str | None, caller: Caller) -> tuple[int | None, int | None]:
    """The numbers of --uid and --gid; a user without --gid brings the group that /etc/passwd gives him."""
    user = None if uid is None else _find_user(uid, caller)
    group = None if user is None else user.gid
    if gid is not None:
        group = _find_group(gid, caller)
    if caller.uid != 0 and ((user and user.uid != caller.uid) or (group is not None and group != caller.gid)):
        raise UsageError(
            "cannot run as another user or group: only root may, and plg was not started by root"
        )
    return (None if user is None else user.uid), group


def _find_user(text: str, caller: Caller) -> User:
    number = _parse_id("--uid", text)
    try:
        return caller.find_user(text if number is None else number)
    except KeyError:
        if number is None:
            raise UsageError(f"cannot find user {text!r}") from None
        return User(number, caller.gid)


def _find_group(text: str, caller: Caller) -> int:
    number = _parse_id("--gid", text)
    try:
        return caller.find_group(text) if number is None else number
    except KeyError:
        raise UsageError(f"cannot find group {text!r}") from None


def _parse_id(option: str, text: str) -> int | None:
    """A numeric id, or None for a name; 2**32 - 1 is the kernel's word for "leave it"."""
    if not (text.isascii() and text.isdigit()):
        return None
    if int(text) >= 2**32 - 1:
        raise UsageError(f"cannot use {option} {text}: out of range")
    return int(text)


def parse_ready(text: str, names: Sequence[str]) -> ReadyRule:
    """NAME or NAME:PORT."""
    match = _READY.fullmatch(text)
    if match is None:
        raise UsageError(f"cannot use --ready {text!r}: not like NAME or NAME:PORT")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 1 <= port <= 65535:
        raise UsageError(f"cannot use --ready {text}: port {port} is not from 1 to 65535")
    return ReadyRule(_check_known("--ready", match["name"], names), port)


def _check_known(option: str, name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise UsageError(f"cannot use {option} {name}: no such process; there is {_listed(names)}")
    return name


def _check_seconds(option: str, value: float, least: float) -> float:
    if not (math.isfinite(value) and value >= least):
        raise UsageError(f"cannot use {option} {value:g}: not a number of seconds from {least:g} up")
    return value


def _check_timeout(value: float | None) -> float | None:
    if value is None:
        return None
    if value == 0:
        raise UsageError("cannot use --timeout 0: leave it out for no timeout")
    return _check_seconds("--timeout", value, least=0.0)


def _check_mtu(value: int) -> int:
    if not SMALLEST_MTU <= value <= LARGEST_MTU:
        raise UsageError(f"cannot use --mtu {value}: not from {SMALLEST_MTU} to {LARGEST_MTU}")
    return value


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
