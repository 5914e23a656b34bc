"""Two recordings, A and B, compared as a replay of A compares what live processes say.

The processes of B are the live ones, every one of them, and what B holds is what they say and do. A replay's
player is not in this: it decides what a process hears, and when, and waits for it. In B a process heard what
its peer said in B, so there is nothing to play and nobody to wait for. All that judges is the replay's own:
its comparisons and masks, its `Judge` for bytes and ends, its `PostOffice` for datagrams, its `Course` for
the order of what each process says and hears, its `Referee` and verdict. Who plays which record is settled
before (pairing.py).

What differs is told once for each connection: at its first difference in B. What either side says after that
may be said because of it.

Where a recording was cut short (plg ended the run, a capture ended, a dump is torn), the other one may go on:
what comes after A's end is a note, as in a replay, and so is what is missing after B's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from netplayground.replay.options import ReplayOptions
from netplayground.replay.referee import MOST_KEPT
from netplayground.replay.tape import DATAGRAM, SYN
from netplayground.replay.verdict import Verdict
from netplayground.report.bench import Bench
from netplayground.report.halves import Halves, share_redactions
from netplayground.report.letters import Letters
from netplayground.report.pairing import pair_up, says_same
from netplayground.report.pools import shared_otherwise
from netplayground.report.talks import Talks

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """What a comparison came to. `only_in_a` and `only_in_b` are connections, by their numbers there."""

    verdict: Verdict
    only_in_a: tuple[int, ...]
    only_in_b: tuple[int, ...]
    processes: tuple[tuple[str, str], ...]
    """Whose names are not the same: in A, and in B; "" for nobody."""

    @property
    def is_same(self) -> bool:
        return not self.verdict.has_diverged


def compare(
    halves: Halves,
    options: ReplayOptions,
    progress: Progress = lambda done: None,
    most_kept: int = MOST_KEPT,
) -> Difference:
    """Compare two recordings; `progress` hears how far in B's file it is."""
    one, other = halves.under(options.ignore)
    pairs = pair_up(one, other, options.ephemeral)
    share_redactions(one.tape, other.tape, pairs.record_of)
    if other.tape.redactions:
        records = other.tape.records
        pairs.differing = [
            number
            for number in pairs.differing
            if not says_same(one, other, one.tape.records[pairs.record_of[number]], records[number])
        ]
    pairs.shared = shared_otherwise(one, other, pairs.record_of, pairs.differing)
    bench = Bench(one, other, halves.names, options, most_kept)
    talks, letters = Talks(bench, pairs), Letters(bench)
    two = bench.two
    for event in range(len(two)):
        bench.now, code = two.time[event], two.code[event]
        if code >= DATAGRAM:
            letters.take(event)
        elif code == SYN:
            talks.open(two.records[two.record[event]])
        else:
            talks.go_on(event, code)
        if not event & 0xFF and two.offset[event]:
            progress(two.offset[event])
    bench.now = max(bench.now, bench.b_ends.last_ns)
    talks.finish()
    letters.finish()
    return Difference(
        _verdict(bench, talks, pairs.rematched), tuple(talks.only_in_a), tuple(talks.only_in_b), halves.names
    )


def _verdict(bench: Bench, talks: Talks, rematched: int) -> Verdict:
    """The replay's verdict, with each byte counted once, and not for who said it and for who heard it."""
    verdict = bench.referee.verdict(is_over=True)
    size = sum(sum(record.bytes) for record in bench.tape.records)
    lacking = [(name, tape.missing) for name, tape in (("A", bench.tape), ("B", bench.two)) if tape.missing]
    return replace(
        verdict,
        bytes=size,
        bytes_matched=min(size, talks.matched),
        rematched=rematched,
        left_out=(*verdict.left_out, *bench.two.left_out),
        missing="; ".join(f"{name} lacks {missing}" for name, missing in lacking),
    )
