"""The check finds every changed byte of a complete dump, and every index that tells something else."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from dump.making import FAMILIES, create, every_ending, opened, say, writing

from netplayground.dump import blocks, ledger
from netplayground.dump.check import check_dump
from netplayground.dump.index import ENTRY, RECORD
from netplayground.dump.model import CLIENT, SERVER, State
from netplayground.dump.opening import find_footer
from netplayground.dump.reader import open_dump
from netplayground.dump.source import Source
from netplayground.errors import DamagedDumpError, DumpError, NotADumpError


def small_dump(path: Path) -> bytes:
    with writing(path) as writer:
        writer.fact("process-ready", process="db", ports=[80])
        for family in FAMILIES:
            every_ending(writer, family)
    return path.read_bytes()


def test_a_whole_dump_is_reported_with_its_totals(tmp_path: Path) -> None:
    size = len(small_dump(tmp_path / "d"))
    report = check_dump(tmp_path / "d")
    assert (report.state, report.size, report.windows, report.missing) == (State.COMPLETE, size, 1, "")
    assert (report.totals.connections, report.totals.facts) == (18, 3)
    assert report.totals.bytes == (2 * (8 + 13 + 9), 2 * (27 + 9 + 11 + 11))


def test_an_open_dump_is_reported_as_torn(tmp_path: Path) -> None:
    writer = create(tmp_path / "d")
    say(opened(writer), CLIENT, b"cut")
    writer.close(complete=False)
    report = check_dump(tmp_path / "d")
    assert (report.state, report.windows, report.totals.bytes) == (State.TORN, 0, (3, 0))
    assert "1 connection" in report.missing


def test_every_changed_byte_is_found_and_placed(tmp_path: Path) -> None:
    path = tmp_path / "d"
    content = bytearray(small_dump(path))
    for offset in range(len(content)):
        for bit in (0x01, 0x80):
            content[offset] ^= bit
            path.write_bytes(content)
            content[offset] ^= bit
            with pytest.raises(DamagedDumpError) as caught:
                check_dump(path)
            assert caught.value.offset <= len(content)
            assert f"damaged at byte {caught.value.offset}" in str(caught.value)
    path.write_bytes(content)
    check_dump(path)


def test_an_octet_too_many_or_too_few_is_found(tmp_path: Path) -> None:
    path = tmp_path / "d"
    content = small_dump(path)
    for changed in (content + b"\0", content[:-1], content[:200] + content[204:], content + content):
        path.write_bytes(changed)
        with pytest.raises((DamagedDumpError, NotADumpError)):
            check_dump(path)


def test_damage_in_a_later_mib_is_placed_in_it(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with writing(path) as writer:
        connection = opened(writer)
        for _ in range(100):
            say(connection, SERVER, bytes(50_000))
    with path.open("r+b") as file:
        file.seek((3 << 20) + 12345)
        file.write(b"\1")
    with pytest.raises(DamagedDumpError, match=r"the CRC-32 of bytes 3145728 to 4194304 is wrong") as caught:
        check_dump(path)
    assert caught.value.offset == 3 << 20
    assert caught.value.exit_status == 125


def test_progress_is_told_up_to_the_end(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        connection = opened(writer)
        for _ in range(100):
            say(connection, SERVER, bytes(50_000))
    seen: list[tuple[int, int]] = []
    report = check_dump(tmp_path / "d", lambda done, size: seen.append((done, size)))
    assert [done for done, _size in seen] == sorted(done for done, _size in seen)
    assert {size for _done, size in seen} == {report.size}
    assert len(seen) >= report.windows == 5


def test_a_run_of_many_pages_agrees_with_its_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SUMS_MOST", 2)
    monkeypatch.setattr(ledger, "ENTRIES_MOST", 3)
    monkeypatch.setattr(ledger, "EVENTS_ENOUGH", 500)
    monkeypatch.setattr(ledger, "RECORDS_MOST", 50)
    path = tmp_path / "d"
    with writing(path) as writer:
        lasting = opened(writer, 6)
        for number in range(4000):
            if number % 40 == 0:
                every_ending(writer, 4, 2000 + number)
            say(lasting, number & 1, b"x" * (1 + number % 3000))
            if number % 1000 == 0:
                say(lasting, CLIENT, b"y" * 200_000)
    report = check_dump(path)
    assert report.windows > 5
    with open_dump(path) as dump:
        kinds = [entry.what for entry in dump.entries]
        assert kinds.count(blocks.EVENT_PAGE) > 2
        assert kinds.count(blocks.CONNECTION_PAGE) > 10
        assert kinds.count(blocks.SUM_PAGE) > 2
        by_index = list(dump.events(0))
        by_walk = [event for identity, event in dump.all_events() if identity == 0]
        assert by_index == by_walk
        assert sum(event.length for event in by_index) == sum(dump.connections[0].bytes)
        assert len(dump.connections) == 901


def resign(path: Path, offset: int, change: bytes) -> None:
    """Change octets before the tail, and every CRC-32 that covers them: what a forger would do."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(change)] = change
    source = Source(path)
    _footer, tail, at = find_footer(source)
    source.close()
    page_length = int.from_bytes(tail[4:8], "big")
    content[at + 16 : at + 20] = zlib.crc32(content[:at]).to_bytes(4, "big")
    directory = at + page_length
    with open_dump(path) as dump:
        for number, entry in enumerate(dump.entries):
            crc = zlib.crc32(content[entry.offset : entry.offset + entry.length])
            place = directory + 16 + number * ENTRY.size + 16
            content[place : place + 4] = crc.to_bytes(4, "big")
    content[-8:-4] = zlib.crc32(content[at:-8]).to_bytes(4, "big")
    path.write_bytes(content)


def test_an_index_that_lies_with_good_sums_is_found(tmp_path: Path) -> None:
    path = tmp_path / "d"
    small_dump(path)
    with open_dump(path) as dump:
        pages = {entry.what: entry for entry in dump.entries}
    events, records = pages[blocks.EVENT_PAGE], pages[blocks.CONNECTION_PAGE]
    lies = {
        events.offset + 16 + 16: (5).to_bytes(4, "big"),
        events.offset + events.length - 8: (4).to_bytes(4, "big"),
        events.offset + 16 + 8: (3).to_bytes(4, "big"),
        records.offset + 16: (1).to_bytes(4, "big"),
        records.offset + 16 + 4: b"\7",
        records.offset + 16 + RECORD.size - 30: b"\7",
    }
    resign(path, 0, b"")
    check_dump(path)
    for offset, lie in lies.items():
        small_dump(path)
        resign(path, offset, lie)
        with pytest.raises(DamagedDumpError):
            check_dump(path)
        try:
            with open_dump(path) as dump:
                for connection in dump.connections:
                    for event in dump.events(connection.id):
                        dump.payload(event)
        except DumpError as error:
            assert str(path) in str(error)
