"""What an import keeps is bounded by what it may keep, not by how much never comes to an end."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from capture.crowds import KINDS, write_crowd

from netplayground.capture import fast, reassembly, records, telling
from netplayground.capture.connection import Connection, Counts
from netplayground.capture.importing import ImportOptions, import_captures
from netplayground.capture.reassembly import Limits
from netplayground.dump.check import check_dump
from netplayground.dump.model import Ending

CROWD, ALLOWED, BATCH = 1500, 64, 32


def living() -> int:
    """Count the connections that are in memory."""
    return sum(isinstance(each, Connection) for each in gc.get_objects())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many connections there are whenever one is over, in batches of few packets."""
    counts: list[int] = []
    before = living()
    ended = telling.Teller.ended

    def count(self: telling.Teller, connection: Connection, ending: Ending, oddities: Counts = ()) -> None:
        if len(counts) % 50 == 0:
            counts.append(living() - before)
        else:
            counts.append(0)
        ended(self, connection, ending, oddities)

    monkeypatch.setattr(telling.Teller, "ended", count)
    monkeypatch.setattr(records, "PACKETS_MOST", BATCH)
    monkeypatch.setattr(reassembly, "_OVER_MOST", ALLOWED)
    return counts


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_of_a_crowd_no_more_connections_are_in_memory_than_are_allowed(
    tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch, kind: str, vectors: bool
) -> None:
    if vectors:
        pytest.importorskip("numpy")
        monkeypatch.setattr(fast, "_RELEASED_AT_ONCE", BATCH)
        monkeypatch.setattr(fast, "LEAST", 1)
    path = write_crowd(tmp_path / "crowd.pcap", KINDS[kind], CROWD)
    limits = Limits(connections=ALLOWED)
    imported = import_captures(ImportOptions((path,), tmp_path / "dump", limits=limits, vectors=vectors))
    assert imported.written.connections == CROWD == len(counted)
    check_dump(tmp_path / "dump")
    # Those that go on, those that are over and still known, those that somebody asked to look at again; and
    # what a batch brings, and the batch before it, which is being written.
    assert 0 < max(counted) <= 3 * ALLOWED + 3 * BATCH
