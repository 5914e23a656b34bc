"""What `plg check` says of a dump: whole, torn, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from netplayground.cli.main import main
from netplayground.dump.model import CLIENT, SERVER, RunHeader
from netplayground.dump.reader import open_dump
from netplayground.dump.writer import DumpWriter
from netplayground.packet import udp


def write_dump(path: Path, complete: bool, facts: int = 0) -> None:
    writer = DumpWriter.create(path, RunHeader(subnets=("10.0.0.0/24",), processes=()), 0)
    connection = writer.connection(4, bytes(4), 1, bytes(4), 2)
    connection.syn()
    connection.established()
    connection.chunk(CLIENT, memoryview(b"x" * 5000))
    connection.chunk(SERVER, memoryview(b"y"))
    connection.rst(SERVER)
    for _ in range(facts):
        writer.fact("process-ready", process="db")
    writer.close(complete)


def test_a_whole_dump_is_status_0_with_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d"
    write_dump(path, complete=True)
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: complete and whole; 1 CRC-32 is right, the index agrees with the blocks",
        "1 connection, 5,000 bytes to servers, 1 byte to clients, 5 events in packets, 0 facts, "
        f"{path.stat().st_size:,} bytes of file",
    ]


def test_a_torn_dump_is_status_0_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d"
    write_dump(path, complete=False)
    assert main(["check", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}: torn, but what is there is whole")
    assert lines[1].startswith("missing: ")
    assert lines[2].startswith("1 connection, 5,000 bytes to servers, 1 byte to clients, ")


@pytest.mark.parametrize("complete", [True, False])
def test_facts_are_not_counted_among_the_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], complete: bool
) -> None:
    path = tmp_path / "d"
    write_dump(path, complete, facts=3)
    assert main(["check", str(path)]) == 0
    assert ", 5 events in packets, 3 facts, " in capsys.readouterr().out
    with open_dump(path) as dump:
        assert len(list(dump.events(0))) == 5


def test_damage_is_status_125_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d"
    write_dump(path, complete=True)
    data = bytearray(path.read_bytes())
    data[data.index(b"xxxx") + 2000] ^= 1
    path.write_bytes(data)
    assert main(["check", str(path)]) == 125
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"plg: cannot read {path}: damaged at byte 0: ")
    assert err.count("\n") == 1


def test_where_nothing_whole_is_left_it_is_status_125(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d"
    write_dump(path, complete=False)
    path.write_bytes(path.read_bytes()[:100])
    assert main(["check", str(path)]) == 125
    assert "nothing whole is left" in capsys.readouterr().err


def test_a_dump_of_the_original_program_is_checked_as_far_as_it_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, pair = tmp_path / "d", b"10.0.0.2 10.0.0.1 80"
    mixed = b"".join(
        b"17 %d %b %d\n" % (size, pair, side) + b"x" * size for size, side in [(3, 0), (0, 0)] * 2
    )
    path.write_bytes(mixed + b"17 2 %b 1\nok" % pair)
    assert main(["check", str(path)]) == 0
    whole, ambiguous, counts = capsys.readouterr().out.splitlines()
    assert whole == f"{path}: whole; the original program wrote no CRC-32s, no index and no end"
    assert ambiguous.startswith("ambiguous: connections 0, 1 from 10.0.0.2 to 10.0.0.1:80: ")
    assert counts.startswith("2 connections, 6 bytes to servers, 2 bytes to clients, 9 events")
    path.write_bytes(path.read_bytes() + b"17 2")
    assert main(["check", str(path)]) == 0
    assert f"{path}: torn, but what is there is whole\nmissing: " in capsys.readouterr().out
    path.write_bytes(path.read_bytes() + b"!\n")
    assert main(["check", str(path)]) == 125
    assert f"damaged at byte {path.stat().st_size - 6}: not a line" in capsys.readouterr().err


def test_datagrams_are_counted_beside_the_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d"
    writer = DumpWriter.create(path, RunHeader(subnets=("10.0.0.0/24",), processes=()), 0)
    batch = writer.datagrams()
    for number in range(3):
        batch.put(udp.emit_packet(bytes(4), 1, bytes(4), 2, b"%d" % number))
    batch.commit()
    writer.close()
    assert main(["check", str(path)]) == 0
    assert ", 3 datagrams, 0 events in packets, 0 facts, " in capsys.readouterr().out
