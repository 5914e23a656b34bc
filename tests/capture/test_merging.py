"""Several captures as one, whose packets lie among one another."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from capture.frames import ETHERNET, START_NS, Frame, Talk, ethernet, pcap, pcapng, write
from capture.test_fast import told
from hypothesis import given, settings
from hypothesis import strategies as st

from netplayground.capture.importing import ImportOptions, import_captures


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 16), st.integers(2, 5), st.sampled_from([1, 3, 400]))
def test_packets_that_lie_in_several_captures_tell_what_they_tell_in_one(
    seed: int, count: int, together: int
) -> None:
    """`together`: so many in a row, on the average, are in the same one."""
    chance = random.Random(seed)
    talks = [Talk(port=40000 + number, time_ns=START_NS + number * 7) for number in range(40)]
    for each in talks:
        each.open().say(chance.randrange(2), chance.randbytes(chance.randrange(20_000)), 700).close()
    frames = sorted((frame for each in talks for frame in each.frames), key=lambda frame: frame.time_ns)
    parts: list[list[Frame]] = [[] for _ in range(count)]
    which = 0
    for frame in frames:
        which = chance.randrange(count) if chance.random() < 1 / together else which
        parts[which].append(frame)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        forms = [pcap, lambda part: pcap(part, link_type=ETHERNET, link=ethernet()), pcapng]
        paths = [write(folder / f"{at}", forms[at % 3](part)) for at, part in enumerate(parts) if part]
        import_captures(ImportOptions((write(folder / "one", pcap(frames)),), folder / "whole"))
        imported = import_captures(ImportOptions(tuple(paths), folder / "dump"))
        assert imported.packets == len(frames)
        assert told(folder / "dump") == told(folder / "whole")
