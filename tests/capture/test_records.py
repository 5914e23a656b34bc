"""Capture files of every kind: the same packets come out of each."""

from __future__ import annotations

import gzip
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from capture.frames import (
    ETHERNET,
    RAW,
    START_NS,
    Frame,
    Talk,
    block,
    enhanced,
    interface,
    pcap,
    pcapng,
    section,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

from netplayground.capture.importing import ImportOptions, import_captures
from netplayground.capture.records import Records
from netplayground.dump.reader import open_dump
from netplayground.errors import CaptureError, UsageError

FRAMES = Talk().open().say(0, b"question" * 40).close().frames
Read = list[tuple[int, int, bytes]]


def read(path: Path, batch: int = 1 << 16) -> Read:
    """Give link type, time and octets of each packet."""
    records = Records(path, batch)
    try:
        return [
            (each.link_type, time_ns, bytes(batch_.buffer[begin:end]))
            for batch_ in records.batches()
            for each, time_ns, begin, end, _missing in batch_.packets()
        ]
    finally:
        records.close()


def expected(link_type: int = RAW, unit: int = 1) -> Read:
    return [(link_type, frame.time_ns // unit * unit, frame.packet) for frame in FRAMES]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [True, False])
@pytest.mark.parametrize("batch", [64, 1000, 1 << 16])
def test_pcap(tmp_path: Path, order: str, nanoseconds: bool, batch: int) -> None:
    path = write(tmp_path / "c", pcap(FRAMES, order, nanoseconds))
    assert read(path, batch) == expected(unit=1 if nanoseconds else 1000)


def modified(data: bytes, order: str = "<") -> bytes:
    """Give a pcap as libpcap with Kuznetzov's patch wrote it: interface, protocol and kind in each record."""
    out, at = [struct.pack(order + "I", 0xA1B2CD34) + data[4:24]], 24
    while at < len(data):
        end = at + 16 + struct.unpack_from(order + "I", data, at + 8)[0]
        out += [data[at : at + 16], struct.pack(order + "IHBB", 2, 0x0800, 4, 0), data[at + 16 : end]]
        at = end
    return b"".join(out)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("batch", [64, 1000, 1 << 16])
def test_modified_pcap(tmp_path: Path, order: str, batch: int) -> None:
    path = write(tmp_path / "c", modified(pcap(FRAMES, order, False), order))
    assert read(path, batch) == expected(unit=1000)


@pytest.mark.parametrize("vectors", [True, False])
def test_a_modified_pcap_is_imported_as_any_other(tmp_path: Path, vectors: bool) -> None:
    whole = pcap(FRAMES, nanoseconds=False)
    dumps = []
    for name, data in (("usual", whole), ("modified", modified(whole))):
        options = ImportOptions((write(tmp_path / "c", data),), tmp_path / name, vectors=vectors)
        assert import_captures(options).segments == len(FRAMES)
        with open_dump(tmp_path / name) as dump:
            dumps.append([(event, dump.payload(event)) for event in dump.events(0)])
    assert dumps[0] == dumps[1]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("batch", [64, 1000, 1 << 16])
def test_pcapng(tmp_path: Path, order: str, batch: int) -> None:
    assert read(write(tmp_path / "c", pcapng(FRAMES, order)), batch) == expected()


def test_sections_of_both_byte_orders_and_interfaces_of_several_kinds(tmp_path: Path) -> None:
    packet = FRAMES[0].packet
    data = (
        section("<")
        + interface("<", RAW, None)
        + interface("<", ETHERNET, 0x80 | 10, offset=1000)
        + enhanced(packet, 5_000_000, "<", 0)
        + enhanced(packet, 3 << 9, "<", 1)
        + section(">")
        + interface(">", ETHERNET, 9)
        + enhanced(packet, START_NS, ">", 0)
    )
    second = 1_000_000_000
    times = [(RAW, 5 * second), (ETHERNET, 1000 * second + 3 * second // 2), (ETHERNET, START_NS)]
    assert read(write(tmp_path / "c", data)) == [(*each, packet) for each in times]


@pytest.mark.parametrize("order", ["<", ">"])
def test_other_blocks_are_stepped_over_and_old_and_simple_packets_read(tmp_path: Path, order: str) -> None:
    packet = FRAMES[0].packet
    length = len(packet)
    time = START_NS >> 32, START_NS & 0xFFFFFFFF
    old = struct.pack(order + "HHIIII", 0, 7, *time, length, length) + packet
    simple = struct.pack(order + "I", length) + packet
    data = (
        section(order)
        + block(order, 4, bytes(8))
        + interface(order)
        + block(order, 2, old)
        + block(order, 0x0BAD, b"custom: whose is it?")
        + block(order, 3, simple)
        + block(order, 5, bytes(12))
        + enhanced(packet, START_NS, order)
        + block(order, 10, bytes(100_000))
    )
    assert read(write(tmp_path / "c", data)) == [
        (RAW, START_NS, packet),
        (RAW, 0, packet),
        (RAW, START_NS, packet),
    ]


def packed_with_zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    compress: Callable[[bytes], bytes] = zstandard.ZstdCompressor().compress
    return compress(data[:300]) + compress(data[300:])


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]), packed_with_zstd],
)
def test_packed_captures(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert read(write(tmp_path / "c", pack(pcap(FRAMES)))) == expected()


def gzip_padded(data: bytes) -> bytes:
    """Zeros may follow: a tape's block is filled with them, and gzip(1) ignores them."""
    return gzip.compress(data[:99]) + bytes(200_000) + gzip.compress(data[99:]) + bytes(200_000)


def zstd_with_skippable_frames(data: bytes) -> bytes:
    """RFC 8878, 3.1.2: pzstd begins with one."""
    skippable = struct.pack("<II", 0x184D2A5C, 6) + b"ignore"
    return skippable + packed_with_zstd(data) + skippable


PACKED = [gzip.compress, gzip_padded, packed_with_zstd, zstd_with_skippable_frames]


@pytest.mark.parametrize("pack", PACKED[1::2])
def test_what_does_not_belong_to_a_packed_capture_is_ignored(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    assert read(write(tmp_path / "c", pack(pcap(FRAMES)))) == expected()


@pytest.mark.parametrize("pack", [bytes, *PACKED])
def test_a_pipe_is_opened_once(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(pack(pcap(FRAMES)),))
    writer.start()
    assert read(pipe) == expected()
    writer.join()


def test_pipes_are_not_read_together_with_other_captures(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for paths in ((pipe, pipe), (write(tmp_path / "c", pcap(FRAMES)), pipe)):
        with pytest.raises(UsageError, match=f"cannot read {pipe}, a pipe, together with other captures"):
            import_captures(ImportOptions(paths, tmp_path / "dump"))


@pytest.mark.parametrize("form", [pcap, pcapng])
@given(share=st.floats(0, 1))
def test_a_truncated_tail_is_used_as_far_as_it_goes(
    tmp_path_factory: pytest.TempPathFactory, form: Callable[..., bytes], share: float
) -> None:
    data = form(FRAMES)
    path = write(tmp_path_factory.mktemp("cut") / "c", data[: int(len(data) * share)])
    try:
        packets = read(path)
    except CaptureError as error:
        assert "empty" in str(error) or "cut off" in str(error)
        return
    assert packets == expected()[: len(packets)]


@pytest.mark.parametrize("pack", [gzip.compress, packed_with_zstd])
def test_a_truncated_packed_capture_is_used_as_far_as_it_goes(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    frames = [Frame(bytes([0x45]) + zlib.compress(bytes([at]) * 999), START_NS + at) for at in range(200)]
    data = pack(pcap(frames))
    records = Records(write(tmp_path / "c", data[:-30]))
    count = sum(len(batch.heads) for batch in records.batches())
    records.close()
    assert 0 < count <= 200
    assert records.cut or count == 200


def test_how_much_of_a_cut_record_is_left_over_is_known(tmp_path: Path) -> None:
    records = Records(write(tmp_path / "c", pcap(FRAMES)[:-3]))
    assert sum(len(batch.heads) for batch in records.batches()) == len(FRAMES) - 1
    assert records.cut == 16 + len(FRAMES[-1].packet) - 3
    records.close()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\xa1\xb2", "cut off at byte 2"),
        (b"GIF89a", "neither a pcap nor a pcapng file"),
        (pcap(FRAMES)[:24] + struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30), "a record of 1073741824 octets"),
        (section() + struct.pack("<II", 6, 13) + bytes(32), "a block of 13 octets, at byte 28"),
        (section() + struct.pack("<II", 6, 0) + bytes(32), "a block of 0 octets"),
        (section() + enhanced(b"abcd", 0), "a packet of interface 0 of 0"),
        (section() + interface() + block("<", 6, bytes(12) + b"\xff\0\0\0" * 2), "a packet of 255 octets"),
        (section()[:8] + bytes(20), "a section header that is none, at byte 0"),
        (b"\x1f\x8b\x08\x00garbage which is no deflate", "Error -3"),
    ],
)
def test_what_is_no_capture_is_one_clear_error(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(CaptureError, match=f"cannot read .*{message}"):
        read(write(tmp_path / "c", data))


@given(st.data())
def test_a_mutated_capture_gives_packets_or_the_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kinds = pcap(FRAMES), modified(pcap(FRAMES, ">"), ">"), pcapng(FRAMES), pcapng(FRAMES, ">")
    whole = bytearray(data.draw(st.sampled_from(kinds)))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    path = write(tmp_path_factory.mktemp("mutated") / "c", bytes(whole))
    try:
        packets = read(path)
    except CaptureError:
        return
    assert sum(len(packet) for _, _, packet in packets) <= len(whole)


@given(share=st.floats(0, 1), batch=st.sampled_from([64, 300, 1 << 16]))
def test_a_modified_pcap_too_is_used_as_far_as_it_goes(
    tmp_path_factory: pytest.TempPathFactory, share: float, batch: int
) -> None:
    data = modified(pcap(FRAMES, nanoseconds=False))
    path = write(tmp_path_factory.mktemp("cut") / "c", data[: 24 + int((len(data) - 24) * share)])
    packets = read(path, batch)
    assert packets == expected(unit=1000)[: len(packets)]
    assert len(packets) == len(FRAMES) or share < 1


def test_a_batch_is_good_until_the_fourth_after_it_whatever_is_skipped_between(tmp_path: Path) -> None:
    parts = [section(), interface()]
    for number in range(8):
        # Blocks that nobody needs, each as long as what is read at once.
        parts += [enhanced(bytes([number]) * 100, number), *[block("<", 0x0BAD, bytes(60_000))] * 9]
    records = Records(write(tmp_path / "c", b"".join(parts)), 1 << 16)
    batches = []
    for batch in records.batches():
        batches.append(batch)
        for number, each in enumerate(batches[-4:], max(0, len(batches) - 4)):
            ((_, _, begin, end, _),) = each.packets()
            assert bytes(each.buffer[begin:end]) == bytes([number]) * 100
    assert len(batches) == 8
    records.close()


@pytest.mark.parametrize("batch", [64, 1 << 16])
def test_simple_packets_of_any_section_come_in_their_order(tmp_path: Path, batch: int) -> None:
    parts, packets = [], []
    for number, order in enumerate("<>><"):
        parts += [section(order), interface(order)]
        for each in range(3000 if number == 1 else 5):
            packets.append(bytes([number, each & 0xFF]) * 20)
            parts.append(block(order, 3, struct.pack(order + "I", 40) + packets[-1]))
    path = write(tmp_path / "c", b"".join(parts))
    assert [data for _, _, data in read(path, batch)] == packets


def test_simple_packets_before_a_damaged_one_are_used(tmp_path: Path) -> None:
    good = block("<", 3, struct.pack("<I", 4) + b"good")
    records = Records(write(tmp_path / "c", section() + interface() + 3 * good + good[:-4] + bytes(4)))
    batches = records.batches()
    assert len(list(next(batches).packets())) == 3
    with pytest.raises(CaptureError, match="ends with another length"):
        next(batches)
    records.close()
