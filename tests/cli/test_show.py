"""What `plg show` prints of a dump that the writer wrote."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import count
from pathlib import Path

import pytest
from capture.frames import Talk, in_time, pcap, write

from netplayground import __version__
from netplayground.cli.main import main
from netplayground.dump.model import CLIENT, SERVER, Process, RunHeader
from netplayground.dump.writer import DumpWriter
from netplayground.packet import icmp, udp
from netplayground.session.outcome import DROPS_FACT, ENDED_FACT, ProcessOutcome, emit_ending

START_NS = 1_700_000_000_000_000_000
RUN = RunHeader(
    subnets=("10.0.0.0/24",),
    processes=(
        Process("web", 1, (IPv4Address("10.0.0.1"), IPv6Address("fd00:706c:67::1")), "nginx"),
        Process("curl", 2, (IPv4Address("10.0.0.2"), IPv6Address("fd00:706c:67::2")), "curl\nweb"),
    ),
)
WEB, CURL = IPv4Address("10.0.0.1").packed, IPv4Address("10.0.0.2").packed


def clock() -> Iterator[int]:
    """A millisecond from look to look."""
    return count(0, 1_000_000)


def write_dump(path: Path, complete: bool = True) -> None:
    """One connection in full, a refused one, and one to nobody."""
    ticks = clock()
    writer = DumpWriter.create(path, RUN, START_NS, lambda: next(ticks))
    connection = writer.connection(4, CURL, 40000, WEB, 80)
    connection.syn()
    connection.established()
    connection.chunk(CLIENT, memoryview(b"GET /\r\n"))
    connection.chunk(SERVER, memoryview(bytes(range(100))))
    connection.fin(SERVER)
    connection.fin(CLIENT)
    refused = writer.connection(4, CURL, 40001, WEB, 81)
    refused.syn()
    refused.refused()
    nobody = writer.connection(4, CURL, 40002, IPv4Address("10.0.0.9").packed, 80)
    nobody.syn()
    nobody.unreachable()
    writer.fact(ENDED_FACT, **emit_ending(ProcessOutcome("curl", 2, "", exit_code=7)))
    writer.fact(ENDED_FACT, **emit_ending(ProcessOutcome("web", 1, "", signal=15, ended_by_plg=True)))
    writer.close(complete)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "d.traffic"
    write_dump(path)
    return path


def show(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["show", *map(str, words)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_processes_and_connections_have_a_line_each(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = show(capsys, dump).splitlines()
    assert lines[0] == (
        f"{dump}: complete, 2 processes, 3 connections, recorded 2023-11-14 22:13:20 UTC by plg {__version__}"
    )
    assert lines[2:5] == [
        "process  addresses                 ended                             command",
        "web      10.0.0.1 fd00:706c:67::1  ended by plg (killed by SIGTERM)  nginx",
        "curl     10.0.0.2 fd00:706c:67::2  exited 7                          curl\\nweb",
    ]
    assert [line.split()[:1] + line.split()[3:] for line in lines[7:]] == [
        ["0", "curl:40000", "web:80", "7", "100", "closed"],
        ["1", "curl:40001", "web:81", "0", "0", "refused"],
        ["2", "curl:40002", "10.0.0.9:80", "0", "0", "unreachable"],
    ]


def test_a_connection_is_told_event_by_event(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = show(capsys, dump, "--conn", 0).splitlines()
    assert lines[0] == "connection 0: curl:40000 (10.0.0.2:40000) → web:80 (10.0.0.1:80), closed"
    told = [line.split(maxsplit=1)[1] for line in lines[1:] if "→" in line or "←" in line]
    assert told == [
        "→ server  syn",
        "← client  established",
        "→ server  7 bytes",
        "← client  100 bytes",
        "← client  fin",
        "→ server  fin",
    ]
    hexed = [line.strip() for line in lines if line.strip().startswith("000000")]
    assert hexed[0] == "00000000  47 45 54 20 2f 0d 0a                             GET /.."
    assert len(hexed) == 1 + 4
    assert lines[-3].strip() == "… 36 more bytes"


def test_full_shows_every_byte(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = show(capsys, dump, "--conn", 0, "--full")
    assert "more bytes" not in out
    assert "\n                00000060  60 61 62 63 " in out


def test_a_connection_that_is_not_there_is_refused(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in ("3", "-1"):
        assert main(["show", f"--conn={number}", str(dump)]) == 2
        assert (
            capsys.readouterr().err == f"plg: cannot show connection {number}: the dump holds 3 connections\n"
        )


def test_full_without_a_connection_is_refused(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--full", str(dump)]) == 2
    assert (
        capsys.readouterr().err
        == "plg: cannot show all that was said: --full goes with --conn N or --datagrams\n"
    )


def test_json_of_a_dump(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(show(capsys, dump, "--json"))
    assert (told["state"], told["missing"], told["started_ns"]) == ("complete", None, START_NS)
    assert [process["name"] for process in told["processes"]] == ["web", "curl"]
    assert (told["processes"][0]["signal"], told["processes"][0]["ended_by_plg"]) == (15, True)
    assert told["processes"][1]["exit_code"] == 7
    assert [connection["ending"] for connection in told["connections"]] == [
        "closed",
        "refused",
        "unreachable",
    ]
    first = told["connections"][0]
    assert first["client"] == {
        "process": "curl",
        "address": "10.0.0.2",
        "port": 40000,
        "bytes": 7,
        "chunks": 1,
    }
    assert first["server"] == {"process": "web", "address": "10.0.0.1", "port": 80, "bytes": 100, "chunks": 1}
    assert first["opened_ns"] < first["established_ns"] < first["closed_ns"]


def test_json_of_a_connection_holds_its_bytes(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(show(capsys, dump, "--json", "--conn", 0))
    assert [event["kind"] for event in told["events"]] == [
        "syn",
        "established",
        "chunk",
        "chunk",
        "fin",
        "fin",
    ]
    chunks = [event for event in told["events"] if event["kind"] == "chunk"]
    assert [(chunk["side"], chunk["length"]) for chunk in chunks] == [("client", 7), ("server", 100)]
    assert base64.b64decode(chunks[0]["data"]) == b"GET /\r\n"


def test_a_torn_dump_is_shown_with_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "torn.traffic"
    write_dump(path, complete=False)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3)
    lines = show(capsys, path).splitlines()
    assert lines[0].startswith(f"{path}: torn, 2 processes, 3 connections")
    assert lines[1].startswith("missing: ")
    assert any(line.startswith("web ") and " unknown " in line for line in lines)
    assert json.loads(show(capsys, path, "--json"))["state"] == "torn"


def test_a_run_without_connections_has_no_table_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "quiet.traffic"
    DumpWriter.create(path, RUN, START_NS, lambda: 0).close()
    out = show(capsys, path)
    assert "0 connections" in out
    assert "opened" not in out
    assert json.loads(show(capsys, path, "--json"))["connections"] == []


@pytest.mark.parametrize("content", [None, b"", b"no dump at all\n" * 10])
def test_what_is_no_dump_is_one_line(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    assert main(["show", str(path)]) == 125
    err = capsys.readouterr().err
    assert err.startswith("plg: cannot ")
    assert err.count("\n") == 1


def test_a_reader_that_reads_one_line_is_served_quietly(tmp_path: Path) -> None:
    path = tmp_path / "many.traffic"
    ticks = clock()
    writer = DumpWriter.create(path, RUN, START_NS, lambda: next(ticks))
    for port in range(10_000, 20_000):
        connection = writer.connection(4, CURL, port, WEB, 80)
        connection.syn()
        connection.refused()
    writer.close()
    command = [sys.executable, "-m", "netplayground", "show", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shown:
        assert shown.stdout is not None and shown.stderr is not None
        assert shown.stdout.readline().startswith(bytes(path))
        shown.stdout.close()
        assert shown.stderr.read() == b""
        assert shown.wait() == 141


def test_a_dump_of_the_original_program_is_shown_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d"
    path.write_bytes(
        b"1795226058910912 4 10.0.0.2 10.0.0.1 80 0\nping1795226058910999 0 10.0.0.2 10.0.0.1 80 1\n"
    )
    lines = show(capsys, path).splitlines()
    assert lines[0] == (
        f"{path}: complete, 2 processes, 1 connection, recorded 2026-11-21 01:54:18 UTC by plg tun-replay"
    )
    assert [line.split()[:2] for line in lines[3:5]] == [["p1", "10.0.0.1"], ["p2", "10.0.0.2"]]
    assert lines[-1].split()[-5:] == ["p2:32768", "p1:80", "4", "0", "open"]
    told = show(capsys, "--conn", 0, path).splitlines()
    assert [line.split()[-1] for line in told[1:3]] == ["syn", "established"]
    assert "ping" in told[4] and told[5].split() == ["0.000087", "←", "client", "fin"]
    assert json.loads(show(capsys, "--json", path))["ambiguous"] is None


def test_what_is_ambiguous_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d"
    path.write_bytes(b"17 4 10.0.0.2 10.0.0.1 80 0\nping17 4 10.0.0.2 10.0.0.1 80 0\nping")
    assert "\nambiguous" not in show(capsys, path)
    path.write_bytes(path.read_bytes() + b"17 0 10.0.0.2 10.0.0.1 80 0\n" * 2)
    assert "\nambiguous: connections 0, 1 from 10.0.0.2 to 10.0.0.1:80: may have been" in show(capsys, path)
    assert json.loads(show(capsys, "--json", path))["ambiguous"].startswith("connections 0, 1 ")


@pytest.fixture
def with_datagrams(tmp_path: Path) -> Path:
    """Two names are asked for, all are told of something, and nobody answers once; one drop."""
    ticks, path = clock(), tmp_path / "d.traffic"
    writer = DumpWriter.create(path, RUN, START_NS, lambda: next(ticks))
    batch = writer.datagrams()
    for port in (40000, 40001):
        batch.put(udp.emit_packet(CURL, port, WEB, 53, b"who?"))
        batch.put(udp.emit_packet(WEB, 53, CURL, port, b"me" * 50))
    batch.put(udp.emit_packet(WEB, 5353, IPv4Address("224.0.0.251").packed, 5353, b"all"))
    nobody = udp.emit_packet(CURL, 1, IPv4Address("10.0.0.9").packed, 7, b"")
    batch.put(nobody)
    batch.put_named(icmp.emit_unreachable(nobody), 0)
    batch.commit()
    writer.fact(DROPS_FACT, processes={"web": {}, "curl": {"malformed": 3}})
    writer.close()
    return path


def test_datagrams_have_a_line_for_each_exchange(
    with_datagrams: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = show(capsys, with_datagrams).splitlines()
    assert ", 2 processes, 0 connections, 7 datagrams, recorded" in lines[0]
    assert [line.split()[1:] for line in lines[-6:-2]] == [
        ["UDP", "curl", "web:53", "2", "8", "2", "200"],
        ["UDP", "web", "224.0.0.251:5353", "1", "3", "0", "0"],
        ["UDP", "curl", "10.0.0.9:7", "1", "0", "0", "0"],
        ["ICMP", "10.0.0.9", "curl", "1", "36", "0", "0"],
    ]
    assert lines[-1] == "3 dropped (curl: 3 malformed)"


def test_each_datagram_is_told(with_datagrams: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = show(capsys, with_datagrams, "--datagrams").splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines if "→" in line] == [
        "curl:40000 → web:53  UDP, 4 bytes",
        "web:53 → curl:40000  UDP, 100 bytes",
        "curl:40001 → web:53  UDP, 4 bytes",
        "web:53 → curl:40001  UDP, 100 bytes",
        "web:5353 → 224.0.0.251:5353  UDP, 3 bytes",
        "curl:1 → 10.0.0.9:7  UDP, 0 bytes",
        "10.0.0.9 → curl  ICMP, 36 bytes",
    ]
    assert sum("… 36 more bytes" in line for line in lines) == 2
    assert "more bytes" not in show(capsys, with_datagrams, "--datagrams", "--full")


def test_json_of_datagrams(with_datagrams: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(show(capsys, with_datagrams, "--json", "--datagrams"))
    assert (told["datagrams_in_all"], told["drops"]) == (7, {"curl": {"malformed": 3}})
    first, *_others, last = told["datagrams"]
    assert first == {
        "time_ns": first["time_ns"],
        "protocol": 17,
        "sender": "curl",
        "source": "10.0.0.2",
        "source_port": 40000,
        "receiver": "web",
        "destination": "10.0.0.1",
        "destination_port": 53,
        "length": 4,
        "data": base64.b64encode(b"who?").decode(),
    }
    assert (last["sender"], last["source_port"], last["receiver"]) == (None, None, "curl")


def test_datagrams_are_of_no_connection(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--conn", "0", "--datagrams", str(dump)]) == 2
    assert "give --conn or --datagrams" in capsys.readouterr().err
    assert show(capsys, dump, "--datagrams") == ""


def test_what_an_import_had_to_put_right_has_a_line_for_each_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = Talk(40000).open().say(0, b"first").say(0, b"second").say(1, b"answer").close()
    first = next(at for at, frame in enumerate(played.frames) if frame.packet.endswith(b"first"))
    later = played.frames.pop(first)
    second = next(at for at, frame in enumerate(played.frames) if frame.packet.endswith(b"second"))
    played.frames[second + 1 : second + 1] = [later, later]
    usual = Talk(40001).open().say(0, b"question").say(1, b"answer").close()
    capture = write(tmp_path / "c.pcap", pcap(in_time(usual.frames + played.frames)))
    dump = tmp_path / "d"
    assert main(["import", str(capture), "-f", str(dump)]) == 0
    capsys.readouterr()

    text = show(capsys, dump)
    begin = text.index("conn  put right")
    told = [line.split() for line in text[begin:].splitlines()[:3]]
    assert told == [
        ["conn", "put", "right", "segments", "queued", "overlapping", "differing", "missing", "strays"],
        ["1", "→", "server", "7", "1", "5", "0", "0", "0"],
        ["1", "←", "client", "5", "0", "0", "0", "0", "0"],
    ]
    assert "put right" in show(capsys, "--conn", 1, dump)
    assert "put right" not in show(capsys, "--conn", 0, dump)

    rows = json.loads(show(capsys, "--json", dump))["put_right"]
    assert [row["connection"] for row in rows] == [1]
    assert (rows[0]["client"]["queued"], rows[0]["client"]["overlapping"]) == (1, 5)
    of_one = json.loads(show(capsys, "--json", "--conn", 1, dump))["put_right"]
    assert of_one == {"client": rows[0]["client"], "server": rows[0]["server"]}
    assert json.loads(show(capsys, "--json", "--conn", 0, dump))["put_right"] is None
