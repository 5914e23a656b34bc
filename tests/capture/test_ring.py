"""Blocks that the kernel fills, and a kernel that is played: what was put in comes out, in order, once."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.capture.link import ETHERNET
from netplayground.capture.records import Interface
from netplayground.capture.ring import Blocks, Ring
from netplayground.errors import CaptureError

SIZE = 1 << 18
COUNT = 8
FIRST = 48
PLAIN, TAGGED = 82, 94
"""Where an Ethernet frame stands behind its header; another place, as for a longer link header."""
OURS, LOSING, KERNELS = 1, 4, 0


@dataclass
class Kernel:
    """What the kernel does: fills blocks in their order, and drops what it has no room for."""

    memory: bytearray = field(default_factory=lambda: bytearray(SIZE * COUNT))
    block: int = 0
    filled: int = 0
    fill: int = FIRST
    previous: int = -1
    dropped: int = 0

    def put(self, frame: bytes, time: tuple[int, int] = (1, 2), place: int = PLAIN, length: int = 0) -> bool:
        need = place + len(frame) + 15 & ~15
        if self.fill + need > SIZE:
            self.retire()
        base = self.block * SIZE
        if self._status(base) != KERNELS:
            self.dropped += 1
            return False
        if not self.filled:
            struct.pack_into("=I", self.memory, base + 12, 0)
            struct.pack_into("=I", self.memory, base + 16, FIRST)
        at = base + self.fill
        words = (*time, len(frame), length or len(frame))
        struct.pack_into("=IIIIIIHH", self.memory, at, 0, *words, 0, place, place + 14)
        if self.previous >= 0:
            struct.pack_into("=I", self.memory, self.previous, at - self.previous)
        self.memory[at + place : at + place + len(frame)] = frame
        self.previous = at
        self.fill += need
        self.filled += 1
        struct.pack_into("=I", self.memory, base + 12, self.filled)
        return True

    def retire(self) -> None:
        """A block is full, or its time is up."""
        if not self.filled:
            return
        status = OURS | (LOSING if self.dropped else 0)
        struct.pack_into("=I", self.memory, self.block * SIZE + 8, status)
        self.block = (self.block + 1) % COUNT
        self.filled, self.fill, self.previous = 0, FIRST, -1

    def _status(self, base: int) -> int:
        status: int = struct.unpack_from("=I", self.memory, base + 8)[0]
        return status

    def free(self) -> int:
        return sum(self._status(at) == KERNELS for at in range(0, len(self.memory), SIZE))


def blocks_of(kernel: Kernel) -> Blocks:
    return Blocks(kernel.memory, SIZE, Interface(ETHERNET, 1_000_000_000), Path("eth0"))


def take(blocks: Blocks) -> list[tuple[int, bytes, int]]:
    """Give time, octets, and octets that are not there, of each packet."""
    return [
        (time, bytes(batch.buffer[begin:end]), missing)
        for batch in blocks.take()
        for _, time, begin, end, missing in batch.packets()
    ]


frames = st.tuples(st.integers(0, 3000), st.sampled_from([PLAIN, TAGGED]), st.integers(0, 999_999_999))


@given(st.lists(st.one_of(frames, st.sampled_from(["retire", "take", "many"])), max_size=60))
def test_all_that_the_kernel_puts_in_comes_out_in_order_and_once(
    steps: list[tuple[int, int, int] | str],
) -> None:
    kernel = Kernel()
    blocks = blocks_of(kernel)
    put: list[tuple[int, bytes, int]] = []
    got: list[tuple[int, bytes, int]] = []
    number = 0

    def put_one(size: int, place: int, nanoseconds: int) -> None:
        nonlocal number
        number += 1
        frame = struct.pack(">I", number) + bytes(size)
        if kernel.put(frame, (7, nanoseconds), place):
            put.append((7_000_000_000 + nanoseconds, frame, 0))

    for step in steps:
        if isinstance(step, tuple):
            put_one(*step)
        elif step == "retire":
            kernel.retire()
        elif step == "many":
            for _ in range(30):
                put_one(60_000, PLAIN, number)
        else:
            got += take(blocks)
            blocks.release()
    kernel.retire()
    while more := take(blocks):
        got += more
        blocks.release()
    assert got == put
    blocks.release()
    assert blocks.is_empty
    assert kernel.free() == COUNT


def test_a_batch_has_one_place_for_all_its_packets() -> None:
    kernel = Kernel()
    blocks = blocks_of(kernel)
    for place in (PLAIN, PLAIN, TAGGED, PLAIN):
        kernel.put(b"frame", place=place)
    kernel.retire()
    assert [(batch.layout.data, len(batch.heads)) for batch in blocks.take()] == [
        (PLAIN - 4, 2),
        (TAGGED - 4, 1),
        (PLAIN - 4, 1),
    ]


def test_a_packet_that_is_cut_off_says_how_much_is_missing() -> None:
    kernel = Kernel()
    kernel.put(b"captured", length=1000)
    kernel.retire()
    assert take(blocks_of(kernel)) == [(1_000_000_002, b"captured", 992)]


def test_a_block_that_is_being_filled_is_not_empty_and_not_taken() -> None:
    kernel = Kernel()
    blocks = blocks_of(kernel)
    assert blocks.is_empty
    kernel.put(b"frame")
    assert not blocks.is_empty and not take(blocks)
    kernel.retire()
    assert not blocks.is_empty and len(take(blocks)) == 1
    blocks.release()
    assert blocks.is_empty


def test_a_block_that_is_empty_when_its_time_is_up_is_no_harm() -> None:
    """Kernels before 3.17 hand such blocks over."""
    kernel = Kernel()
    blocks = blocks_of(kernel)
    struct.pack_into("=II", kernel.memory, 8, OURS, 0)
    assert not take(blocks)
    blocks.release()
    assert kernel.free() == COUNT


def fill(kernel: Kernel) -> int:
    """Put frames until one is dropped."""
    count = 0
    while kernel.put(bytes(60_000)):
        count += 1
    return count


def test_no_block_is_the_kernels_while_its_packets_are_looked_at() -> None:
    kernel = Kernel()
    blocks = blocks_of(kernel)
    fill(kernel)
    assert not kernel.free()
    take(blocks)
    assert not kernel.free()
    blocks.release()
    assert kernel.free() == COUNT >> 2


def test_while_packets_are_dropped_the_kernel_gets_half_of_the_ring_at_once() -> None:
    kernel = Kernel()
    blocks = blocks_of(kernel)
    fill(kernel)
    freed = []
    for _ in range(20):
        take(blocks)
        before = kernel.free()
        blocks.release()
        freed.append(kernel.free() - before)
        fill(kernel)
    # Blocks that were filled before the first loss do not know of it.
    assert set(freed[10:]) == {0, COUNT >> 1}


def test_what_is_left_at_the_end_of_a_loss_is_released() -> None:
    kernel = Kernel()
    blocks = blocks_of(kernel)
    count = fill(kernel)
    seen = 0
    while more := take(blocks):
        seen += len(more)
        blocks.release()
    assert seen == count
    assert kernel.free() == COUNT


@pytest.mark.parametrize("name", ["no-such-if", "a-name-that-is-longer-than-any", ""])
def test_an_interface_that_is_not_there(name: str) -> None:
    with pytest.raises(CaptureError, match=f"cannot capture on {name}: there is no such interface .*lo"):
        Ring(name)
