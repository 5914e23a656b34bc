"""A capture that comes in pieces of any size, as a live one does, tells what it tells as a whole."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

from capture.frames import Frame, Talk, pcap, write
from capture.test_fast import told
from hypothesis import given, settings
from hypothesis import strategies as st

from netplayground.capture.hosts import Hosts
from netplayground.capture.importing import Importer, ImportOptions
from netplayground.capture.records import Records
from netplayground.capture.telling import Clock
from netplayground.dump.model import PROCESSES_FOLLOW, RunHeader
from netplayground.dump.writer import DumpWriter


def conversations(seed: int) -> list[Frame]:
    """Give some conversations at a time, some with losses."""
    chance = random.Random(seed)
    talks = [Talk(port=40000 + number) for number in range(5)]
    for talk in talks:
        talk.time_ns += chance.randrange(10_000_000)
        talk.open()
        for _ in range(chance.randrange(12)):
            talk.say(chance.randrange(2), chance.randbytes(chance.randrange(1, 3000)))
        if chance.random() < 0.7:
            talk.close(chance.randrange(2))
    frames = sorted((frame for talk in talks for frame in talk.frames), key=lambda frame: frame.time_ns)
    return [frame for frame in frames if seed % 2 or chance.random() > 0.03]


def import_in_pieces(capture: Path, dump: Path, sizes: list[int], vectors: bool = True) -> None:
    clock, hosts = Clock(), Hosts({})
    records = Records(capture)
    batches = records.batches()
    writer = DumpWriter.create(dump, RunHeader((), (), {PROCESSES_FOLLOW: True}), clock.now, clock)
    importer = Importer(ImportOptions((), dump, vectors=vectors), writer, hosts, clock)
    for batch in batches:
        heads, turn = batch.heads, 0
        while heads:
            size = sizes[turn % len(sizes)]
            importer.feed(replace(batch, heads=heads[:size]))
            heads, turn = heads[size:], turn + 1
    importer.finish()
    writer.close()
    records.close()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 16), st.lists(st.integers(1, 80), min_size=1, max_size=8))
def test_pieces_of_any_size_tell_the_same(seed: int, sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capture = write(folder / "capture", pcap(conversations(seed)))
        import_in_pieces(capture, folder / "whole", [1 << 20], vectors=False)
        import_in_pieces(capture, folder / "pieces", sizes)
        assert told(folder / "pieces") == told(folder / "whole")


def test_what_is_too_little_for_the_short_way_may_follow_what_was_not(tmp_path: Path) -> None:
    frames = Talk().open().say(0, bytes(100_000)).say(1, bytes(100_000)).close().frames
    capture = write(tmp_path / "capture", pcap(frames))
    import_in_pieces(capture, tmp_path / "pieces", [100, 1, 2, 3])
    import_in_pieces(capture, tmp_path / "whole", [1 << 20], vectors=False)
    assert told(tmp_path / "pieces") == told(tmp_path / "whole")
