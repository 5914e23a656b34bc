"""Captures that were mutated where it hurts: lengths of blocks, options, headers; fragment offsets; numbers.

    python -m capture.mutated COUNT [SEED]

tries so many and says how they came out; each is a dump that is whole, or one clear error.
"""

from __future__ import annotations

import gzip
import os
import random
import resource
import signal
import struct
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

from capture.frames import ETHERNET, Frame, Talk, ethernet, pcap, pcapng, simples, write
from capture.test_importing import fragments, fragments6

from netplayground.capture import reading
from netplayground.capture.importing import ImportOptions, import_captures
from netplayground.capture.reassembly import Full, Limits
from netplayground.capture.stream import Overlap
from netplayground.dump.check import check_dump
from netplayground.errors import CaptureError
from netplayground.packet import icmp, udp

MEMORY_MOST = 300 << 20
LONGEST_S = 60
SLICE = 10_000
"""So many are tried by one process."""
_LENGTHS = (0, 1, 4, 7, 8, 11, 12, 20, 24, 40, 60, 255, 1500, 65535, 1 << 18, 1 << 24, (1 << 31) - 1, 1 << 31)


def seeds() -> list[list[Frame]]:
    """Captures to begin with: conversations of both families, fragments, datagrams, errors."""
    ends = bytes([10, 1, 2, 3]), bytes([10, 1, 2, 4])
    four = Talk().open().say(0, b"question" * 60, 100).say(1, b"answer" * 99, 200).close()
    six = Talk(port=7, client="fd00::3", server="fd00::4").open().say(0, b"six" * 400).abort(1)
    cut = [Frame(piece) for frame in four.frames for piece in fragments(frame.packet, 64, 5)]
    cut6 = [Frame(piece) for frame in six.frames for piece in fragments6(frame.packet, 64, 5)]
    datagram = udp.emit_packet(*(ends[0], 5), *(ends[1], 6), b"datagram " * 200)
    others = [Frame(datagram), *(Frame(piece) for piece in fragments(datagram, 512, 9))]
    others += [Frame(four.frames[0].packet), Frame(icmp.emit_unreachable(four.frames[0].packet))]
    mixed = [frame for pair in zip(four.frames, six.frames, strict=False) for frame in pair]
    return [four.frames * 3, six.frames, cut, cut6, others, mixed * 2]


def mutate(chance: random.Random, frames: list[Frame]) -> bytes:
    """Give the file of a capture, mutated."""
    frames = list(frames)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(frames))
        frames[at] = Frame(_mutate_packet(chance, bytearray(frames[at].packet)), frames[at].time_ns)
    if chance.random() < 0.3:
        chance.shuffle(frames)
    link = ethernet(chance.choice([0x0800, 0x86DD]), *chance.choice([(), (0x8100,), (0x88A8, 0x8100)]))
    kind = chance.choice([(101, b""), (ETHERNET, link), (113, bytes(14) + b"\x08\0"), (0, b"\2\0\0\0")])
    form = chance.choice((pcap, pcapng, pcapng, simples) if chance.random() < 0.5 else (pcap, pcapng))
    data = bytearray(form(frames, chance.choice("<>"), link_type=kind[0], link=kind[1]))
    for _ in range(chance.randrange(3)):
        _mutate_file(chance, data)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    return gzip.compress(data, 1) if chance.random() < 0.05 else bytes(data)


def _mutate_packet(chance: random.Random, packet: bytearray) -> bytes:
    """Change a length, an offset or a number of its headers; or cut it."""
    if len(packet) < 2:
        return bytes(packet)
    fate = chance.randrange(8)
    if fate == 0:
        return bytes(packet[: chance.randrange(len(packet))])
    places = {1: 0, 2: 2, 3: 6, 4: 9, 5: 32 if packet[0] >> 4 == 4 else 52, 6: chance.randrange(len(packet))}
    at = min(places.get(fate, 24), len(packet) - 2)
    if fate in (2, 3, 7):
        struct.pack_into(">H", packet, at, chance.choice(_LENGTHS) & 0xFFFF)
    else:
        packet[at] = chance.choice((0, 0x40, 0x45, 0x4F, 0x60, 0x50, 0xF0, 0xFF, chance.randrange(256)))
    return bytes(packet)


def _mutate_file(chance: random.Random, data: bytearray) -> None:
    """Put a length where one may stand, or change an octet."""
    if chance.random() < 0.5:
        at = chance.randrange(0, max(1, len(data) - 4))
        struct.pack_into(chance.choice("<>") + "I", data, at & ~3, chance.choice(_LENGTHS))
    else:
        data[chance.randrange(len(data))] = chance.randrange(256)


def attempt(folder: Path, data: bytes, chance: random.Random) -> str:
    """Import a file; say how that came out."""
    path = write(folder / "capture", data)
    limits = Limits(connection=4096, all=8192, connections=8, when_full=chance.choice(list(Full)))
    overlap = chance.choice(list(Overlap))
    options = ImportOptions(
        (path,), folder / "dump", overlap=overlap, limits=limits, vectors=chance.random() < 0.7
    )
    # Small as they are, they would be read ahead by a thread.
    reads_apart = mock.patch.object(reading, "BATCH", 0) if chance.random() < 0.05 else nullcontext()
    try:
        with reads_apart:
            import_captures(options)
    except CaptureError as error:
        assert str(error).startswith("cannot "), error
        return "an error"
    check_dump(folder / "dump")
    return "a dump"


def attempts(count: int, seed: int) -> Counter[str]:
    """Try many; an exception says which one it was, also where one takes longer than any should."""
    outcomes: Counter[str] = Counter()
    captures = seeds()
    before = signal.signal(signal.SIGALRM, _too_long)
    with tempfile.TemporaryDirectory(prefix="plg-mutated-") as folder:
        for number in range(seed, seed + count):
            chance = random.Random(number)
            data = mutate(chance, chance.choice(captures))
            signal.alarm(LONGEST_S)
            try:
                outcomes[attempt(Path(folder), data, chance)] += 1
            except Exception as error:
                raise AssertionError(f"mutated capture {number}") from error
            finally:
                signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    return outcomes


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"not done after {LONGEST_S} s")


def _slice(seed: int, count: int) -> tuple[Counter[str], int]:
    """Try some in a process of their own; give how they came out, and the memory that it took at most."""
    return attempts(count, seed), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main(words: list[str]) -> int:
    count, seed = int(words[0]), int(words[1]) if len(words) > 1 else 0
    slices = [(at, min(SLICE, seed + count - at)) for at in range(seed, seed + count, SLICE)]
    outcomes, memory, at_once = Counter[str](), 0, os.cpu_count() or 1
    for begin in range(0, len(slices), at_once):
        # Not forked: whoever has threads cannot be. New ones each time: what is kept must not add up.
        with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
            for tried, taken in pool.map(_slice, *zip(*slices[begin : begin + at_once], strict=True)):
                outcomes += tried
                memory = max(memory, taken)
        said = ", ".join(f"{number:,} times {what}" for what, number in outcomes.items())
        print(f"{said}; {memory:,} bytes of memory at most", flush=True)
    return 0 if memory <= MEMORY_MOST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
