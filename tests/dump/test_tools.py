"""What other people's tools see in a dump: tshark, tcpdump and tcpflow read it and find no fault."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from dump.making import FAMILIES, every_ending, opened, say, writing

from needs import needs_program
from netplayground.dump.connection import CHUNK_MOST
from netplayground.dump.model import CLIENT, SERVER
from netplayground.dump.reader import open_dump
from netplayground.packet import icmp, udp

Streams = list[tuple[bytes, bytes]]

PLAIN = ("-o", "ip.check_checksum:TRUE", "-d", "tcp.port==1-65535,data")
# What is so, and no fault: tshark says of each reset that it is one, and that a port pair is used again.
FACTS = ("tcp.flags.reset", "tcp.analysis.reused_ports")
WARNING = 0x600000  # PI_WARN, epan/proto.h


def tshark(path: Path, *arguments: str) -> str:
    (program,) = needs_program("tshark")
    done = subprocess.run(
        [program, "-r", path, *PLAIN, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower() and "damaged" not in done.stderr
    return done.stdout


def complaints(path: Path) -> list[str]:
    """Give the packets of which tshark says more than what happened."""
    notes = f"(tcp.analysis.flags && !{FACTS[1]}) || _ws.malformed || _ws.short || ip.checksum.status == 0"
    warnings = f"(_ws.expert.severity >= {WARNING} && !({FACTS[0]} == 1))"
    return tshark(path, "-Y", f"{notes} || {warnings}").splitlines()


def follow(path: Path, count: int) -> Streams:
    """Give the first `count` streams as tshark puts them together: each as node 0's bytes and node 1's."""
    streams = [[b"", b""] for _ in range(count)]
    wanted = [part for number in range(count) for part in ("-z", f"follow,tcp,raw,{number}")]
    stream = streams[0]
    for line in tshark(path, "-q", *wanted).splitlines():
        digits = line.lstrip("\t")
        if line.startswith("Filter: tcp.stream eq "):
            stream = streams[int(line.split()[-1])]
        elif digits and set(digits) <= set("0123456789abcdef"):
            stream[line.startswith("\t")] += bytes.fromhex(digits)
    return [(first, second) for first, second in streams]


def streams_of(path: Path) -> Streams:
    """Give the streams of a dump as plg reads it."""
    with open_dump(path) as dump:
        found = []
        for connection in dump.connections:
            sides = [b"", b""]
            for event in dump.events(connection.id):
                sides[event.side] += dump.payload(event)
            found.append((sides[0], sides[1]))
        return found


def assert_agreed(path: Path) -> None:
    """Assert that tshark complains of nothing and follows every stream to the same bytes as plg."""
    assert complaints(path) == []
    expected = streams_of(path)
    # An ICMP error quotes a SYN.
    syns = "tcp.flags.syn == 1 && tcp.flags.ack == 0 && !icmp && !icmpv6"
    numbers = tshark(path, "-Y", syns, "-T", "fields", "-e", "tcp.stream")
    assert [int(number) for number in numbers.split()] == list(range(len(expected)))
    for found, (sent, received) in zip(follow(path, len(expected)), expected, strict=True):
        # tshark calls the one who speaks first node 0.
        assert found in ((sent, received), (received, sent))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_ending_is_followed_and_nothing_is_flagged(tmp_path: Path, family: int) -> None:
    with writing(tmp_path / "d") as writer:
        every_ending(writer, family)
    assert_agreed(tmp_path / "d")


@pytest.mark.parametrize("family", FAMILIES)
def test_streams_across_the_sequence_numbers_wrap(tmp_path: Path, family: int) -> None:
    with writing(tmp_path / "d", first_sequence=0xFFFF8000) as writer:
        connection = opened(writer, family)
        for number in range(8):
            say(connection, CLIENT, bytes([number]) * 20_000)
            say(connection, SERVER, bytes([number + 100]) * 30_000)
        connection.fin(SERVER)
        say(connection, CLIENT, b"last")
        connection.fin(CLIENT)
    assert_agreed(tmp_path / "d")


def test_ports_used_again_many_times_give_as_many_streams(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        for number in range(40):
            connection = opened(writer, 4, 40000 + number % 3)
            say(connection, number & 1, b"connection %d" % number)
            if number % 5:
                connection.fin(number & 1)
                connection.fin(1 - (number & 1))
            else:
                connection.rst(number & 1)
    assert_agreed(tmp_path / "d")


@pytest.mark.parametrize("piece", [16_000, CHUNK_MOST])
def test_a_one_way_stream_is_acknowledged_in_time(tmp_path: Path, piece: int) -> None:
    path, size = tmp_path / "d", 0
    with writing(path) as writer:
        connection = opened(writer)
        while size < 100 << 20:
            say(connection, SERVER, bytes(piece))
            size += piece
    assert complaints(path) == []
    sent = acknowledged = most = 0
    fields = tshark(path, "-T", "fields", "-e", "tcp.srcport", "-e", "tcp.len", "-e", "tcp.ack", "-Y", "tcp")
    for line in fields.splitlines():
        port, length, ack = map(int, line.split("\t"))
        sent += length
        acknowledged = ack - 1 if port != 80 else acknowledged
        most = max(most, sent - acknowledged)
    assert sent == size
    assert most <= 16 << 20


def test_a_long_dump_with_pages_inside_is_read_without_a_word(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        connection = opened(writer)
        for number in range(70_000):
            say(connection, number & 1, b"%d" % number)
        for number in range(6000):
            refused = writer.connection(4, bytes((10, 0, 0, 2)), 1024 + number, bytes((10, 0, 0, 1)), 81)
            refused.syn()
            refused.refused()
    assert complaints(tmp_path / "d") == []
    assert follow(tmp_path / "d", 1) == streams_of(tmp_path / "d")[:1]


def test_names_and_times_are_those_of_the_run(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        for family in FAMILIES:
            say(opened(writer, family), CLIENT, b"who?")
    fields = ("ip.src_host", "ip.dst_host", "ipv6.src_host", "ipv6.dst_host", "frame.time_epoch")
    wanted = [part for name in fields for part in ("-e", name)]
    lines = tshark(tmp_path / "d", "-N", "n", "-Y", "tcp.len > 0", "-T", "fields", *wanted).splitlines()
    assert [line.split("\t")[:4] for line in lines] == [["app", "db", "", ""], ["", "", "app", "db"]]
    with open_dump(tmp_path / "d") as dump:
        times = [event.time_ns for _identity, event in dump.all_events() if event.length]
    assert [int(line.split("\t")[4].replace(".", "")) for line in lines] == times


def test_tcpdump_and_tcpflow_read_it_too(tmp_path: Path) -> None:
    tcpdump, tcpflow = needs_program("tcpdump", "tcpflow")
    path = tmp_path / "d"
    with writing(path) as writer:
        writer.fact("process-ready", process="db")
        for family in FAMILIES:
            connection = opened(writer, family, 50000 + family)
            say(connection, CLIENT, b"question %d" % family)
            say(connection, SERVER, b"answer" * 50_000)
            connection.fin(CLIENT)
            connection.fin(SERVER)
    done = subprocess.run([tcpdump, "-nvr", path], capture_output=True, text=True, timeout=60, check=True)
    with open_dump(path) as dump:
        # The handshake's last acknowledgement is no event.
        assert done.stdout.count("Flags [") == len(list(dump.all_events())) + 2
    assert "bad cksum" not in done.stdout and "truncated" not in done.stdout.lower()
    flows = tmp_path / "flows"
    flows.mkdir()
    subprocess.run([tcpflow, "-r", path, "-o", flows], capture_output=True, timeout=60, check=True)
    said = {file.read_bytes() for file in flows.iterdir() if file.name != "report.xml"}
    assert said == {b"question 4", b"question 6", b"answer" * 50_000}


def test_datagrams_of_every_kind_are_read_without_a_word(tmp_path: Path) -> None:
    (tcpdump,) = needs_program("tcpdump")
    payloads = [bytes([size & 255]) * size for size in (0, 1, 1472, 1473, 65_507)]
    db, app = (bytes((10, 0, 0, last)) for last in (1, 2))
    db6, app6 = (b"\xfd\0plg" + bytes(10) + bytes([last]) for last in (1, 2))
    packets = [
        udp.emit_packet(source, 40_000, destination, 9, payload)
        for source, destination in ((app, db), (app6, db6))
        for payload in payloads
    ]
    with writing(tmp_path / "d") as writer:
        say(opened(writer), CLIENT, b"TCP goes on beside it")
        batch = writer.datagrams()
        for packet in packets:
            batch.put(packet)
            batch.put_named(icmp.emit_unreachable(packet), 0)
            batch.commit()
    checked = ("-o", "udp.check_checksum:TRUE", "-d", "udp.port==1-65535,data")
    assert complaints(tmp_path / "d") == []
    fields = tshark(
        tmp_path / "d",
        *(*checked, "-Y", "udp && !icmp && !icmpv6", "-T", "fields"),
        *("-e", "udp.checksum.status", "-e", "udp.length", "-e", "data.data"),
    )
    assert fields.splitlines() == [f"1\t{8 + len(each)}\t{each.hex()}" for each in payloads] * 2
    errors = tshark(tmp_path / "d", "-Y", "icmp.checksum.status == 1 || icmpv6.checksum.status == 1")
    assert len(errors.splitlines()) == 10
    done = subprocess.run([tcpdump, "-nnvr", tmp_path / "d"], capture_output=True, text=True, check=True)
    assert "udp sum ok" in done.stdout and "bad " not in done.stdout and "truncated" not in done.stdout
