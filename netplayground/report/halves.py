"""Two recordings made ready to be compared: who is who in them, and under which masks.

Processes match by name, else by address (a capture knows nothing else), else by position. Who is in one
recording only gets a number of his own, so that what is said of him can be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from netplayground.dump.model import CLIENT, SERVER, Process
from netplayground.replay.masks import address_masks, parse_masks
from netplayground.replay.redaction import merged
from netplayground.replay.tape import NOBODY, Life, Outcome, Record, Tape
from netplayground.report.pairing import Half


@dataclass(frozen=True, slots=True)
class Halves:
    """Two tapes made ready: the second one's processes have the numbers of the first one's. `addresses` are
    those of the first in place of which the second has others; `names` those that are not the same."""

    tapes: tuple[Tape, Tape]
    addresses: Mapping[str, str]
    names: tuple[tuple[str, str], ...]

    def under(self, ignore: Sequence[bytes]) -> tuple[Half, Half]:
        """Both, with masks; UsageError for what is no regular expression."""
        masks = parse_masks(ignore)
        back = {new: old for old, new in self.addresses.items()}
        texts = {**back, **{new.replace(".", ","): old.replace(".", ",") for new, old in back.items()}}
        one, two = self.tapes
        return (
            Half(one, masks + address_masks(self.addresses)),
            Half(
                two, masks + address_masks(back), {new.encode(): old.encode() for new, old in texts.items()}
            ),
        )


def make_halves(one: Tape, two: Tape) -> Halves:
    """Bring two tapes together; changes both."""
    numbers = _match_processes([life.process for life in one.lives], [life.process for life in two.lives])
    names = [
        (mine.process.name, two.lives[numbers.index(number)].process.name if number in numbers else "")
        for number, mine in enumerate(one.lives)
    ]
    addresses: dict[str, str] = {}
    for their, number in zip(two.lives, list(numbers), strict=True):
        if number == NOBODY:
            one.lives.append(Life(their.process))
            one.lives[-1].ended_ns = 0  # all that it ever did in the first is there
            numbers[numbers.index(NOBODY)] = len(one.lives) - 1
            names.append(("", their.process.name))
        else:
            addresses.update(_changed(one.lives[number].process, their.process))
    _seat_nobody(one, two, numbers)
    return Halves((one, two), addresses, tuple(pair for pair in names if pair[0] != pair[1]))


def _match_processes(ours: Sequence[Process], theirs: Sequence[Process]) -> list[int]:
    """For each of theirs which of ours it is."""
    found = [NOBODY] * len(theirs)
    for know in (_names, _addresses, _positions):
        left = {
            each: number
            for number, process in enumerate(ours)
            if number not in found
            for each in know(process)
        }
        for place, process in enumerate(theirs):
            numbers = {left[each] for each in know(process) if each in left} - set(found)
            if found[place] == NOBODY and numbers:
                found[place] = min(numbers)
    return found


def _names(process: Process) -> Iterator[object]:
    yield process.name


def _addresses(process: Process) -> Iterator[object]:
    yield from process.addresses


def _positions(process: Process) -> Iterator[object]:
    yield process.position


def _changed(ours: Process, theirs: Process) -> Mapping[str, str]:
    """The addresses that a process has in one recording, and those that it has in their place."""
    changed = {}
    for version in (4, 6):
        one, two = (
            [address for address in process.addresses if address.version == version]
            for process in (ours, theirs)
        )
        if len(one) == len(two):
            changed.update({str(old): str(new) for old, new in zip(one, two, strict=True) if old != new})
    return changed


def share_redactions(one: Tape, two: Tape, record_of: Mapping[int, int]) -> None:
    """What is redacted in a stream of the second recording may be anything in the first one, too."""
    for number, ours in record_of.items():
        for side in (CLIENT, SERVER):
            spans = two.redactions.streams.get((two.records[number].identity, side))
            if spans:
                known = one.redactions.streams.get((one.records[ours].identity, side), [])
                one.redactions.streams[one.records[ours].identity, side] = merged([*known, *spans])


def _seat_nobody(one: Tape, two: Tape, numbers: list[int]) -> None:
    """Renumber the second tape; who is no process of a recording and yet speaks gets a number too."""
    records = (*one.records, *two.records)
    nobody = NOBODY
    if any(NOBODY in record.processes and record.outcome is Outcome.ACCEPTED for record in records):
        nobody = len(one.lives)
        one.lives.append(Life(Process("nobody", nobody + 1, (), "")))

    def number(record: Record, process: int, table: Sequence[int] | None) -> int:
        if process == NOBODY:
            return nobody if record.outcome is Outcome.ACCEPTED else NOBODY
        return process if table is None else table[process]

    for tape, table in ((one, None), (two, numbers)):
        for record in tape.records:
            client, server = record.processes
            record.processes = number(record, client, table), number(record, server, table)
    for flow in two.flows:
        first, second = (process if process == NOBODY else numbers[process] for process in flow.processes)
        flow.processes = first, second
