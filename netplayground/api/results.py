"""How a run went, as values; and the divergences of a replay as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from netplayground.errors import DivergedError, RunFailedError
from netplayground.replay.verdict import Divergence, DivergenceKind, Verdict
from netplayground.session.outcome import DIVERGED, ProcessOutcome, RunSummary, Traffic

_ROW = 8
_MOST_SHOWN = 3
_STILL_TO_COME = frozenset(
    {
        DivergenceKind.MISSING,
        DivergenceKind.CLOSED,
        DivergenceKind.NO_CONNECTION,
        DivergenceKind.STALLED,
    }
)


@dataclass(frozen=True, slots=True)
class Output:
    """What one process said on its stdout and stderr, as text; what is no UTF-8 is replaced."""

    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording, over.

    `status` is what the command would exit with, `reason` the source of one that is not 0 ("db exited 3").
    `duration_s` is in seconds, `traffic` counts connections, bytes and drops. `output` is by process, and
    empty where output was not captured. `notes` are for people.
    """

    dump: Path
    dump_bytes: int
    status: int
    reason: str | None
    processes: tuple[ProcessOutcome, ...]
    traffic: Traffic
    duration_s: float
    notes: tuple[str, ...] = ()
    output: Mapping[str, Output] = field(default_factory=dict)

    def require_success(self) -> Recorded:
        """This value, or RunFailedError where the status is not 0."""
        if self.status:
            raise RunFailedError(f"the recording failed: {self.reason}", self, self.status)
        return self


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replay, over: as a recording, and what it found. `status` is 3 where it diverged."""

    dump: Path
    status: int
    reason: str | None
    processes: tuple[ProcessOutcome, ...]
    verdict: Verdict
    duration_s: float
    drops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    output: Mapping[str, Output] = field(default_factory=dict)

    @property
    def has_diverged(self) -> bool:
        """Whether a live process did anything that the recording does not have, or not all that it has."""
        return self.verdict.has_diverged

    def require_clean(self) -> Replayed:
        """This value; or DivergedError where it diverged, RunFailedError where it failed otherwise."""
        words = diverged_words(self)
        if words is not None:
            raise DivergedError(words, self, DIVERGED)
        if self.status:
            raise RunFailedError(f"the replay failed: {self.reason}", self, self.status)
        return self


def recorded(summary: RunSummary, dump: Path, output: Mapping[str, Output]) -> Recorded:
    """The value of a recording that is over."""
    return Recorded(
        dump=dump,
        dump_bytes=summary.dump_bytes,
        status=summary.status,
        reason=summary.reason,
        processes=summary.processes,
        traffic=summary.traffic,
        duration_s=summary.duration_s,
        notes=summary.notes,
        output=output,
    )


def replayed(summary: RunSummary, verdict: Verdict, dump: Path, output: Mapping[str, Output]) -> Replayed:
    """The value of a replay that is over."""
    return Replayed(
        dump=dump,
        status=summary.status,
        reason=summary.reason,
        processes=summary.processes,
        verdict=verdict,
        duration_s=summary.duration_s,
        drops=summary.traffic.drops,
        notes=summary.notes,
        output=output,
    )


def diverged_words(result: Replayed, *, is_cut: bool = False) -> str | None:
    """The first divergences of a replay, each with its place and expected beside actual; None without any.
    `is_cut`: the run was ended early, and what was still to come is none."""
    verdict = result.verdict
    shown = [each for each in verdict.divergences if not (is_cut and each.kind in _STILL_TO_COME)]
    return divergences_words(result.dump, shown, len(shown) if is_cut else verdict.divergence_count)


def divergences_words(dump: Path, divergences: Sequence[Divergence], count: int) -> str | None:
    """The first of `count` divergences of a replay; None without any."""
    if not divergences:
        return None
    lines = [f"the replay of {dump} diverged"]
    for divergence in divergences[:_MOST_SHOWN]:
        lines += divergence_lines(divergence)
    if count > _MOST_SHOWN:
        lines.append(f"… and {count - _MOST_SHOWN} more")
    return "\n".join(lines)


def divergence_lines(divergence: Divergence) -> Iterator[str]:
    """What one process did otherwise, and the bytes around that place: eight a row, where they differ with a
    mark."""
    yield divergence.describe()
    expected, actual = divergence.expected, divergence.actual
    if not (expected or actual):
        return
    yield f"    {'byte':>8}    {'expected':{3 * _ROW + _ROW + 1}}    actual"
    for at in range(0, max(len(expected), len(actual)), _ROW):
        left, right = expected[at : at + _ROW], actual[at : at + _ROW]
        mark = " " if left == right else ">"
        yield f"  {mark} {divergence.window + at:8}    {_row(left)}    {_row(right)}".rstrip()


def _row(octets: bytes) -> str:
    text = "".join(chr(octet) if 32 <= octet < 127 else "." for octet in octets)
    return f"{octets.hex(' '):{3 * _ROW}} {text:{_ROW}}"
