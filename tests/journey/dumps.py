"""Whether a dump is what it claims: read by tshark, tcpdump, tcpflow and plg itself, all of which must agree.

A stream is one TCP connection: who, and the bytes each way. Connections of the same four numbers, one after
another, keep their order. tshark is told that every port carries plain data, so that no dissector of some
application guesses at random bytes and takes the blame to the dump.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from journey.runs import Place, plg, run

from needs import needs_program
from netplayground.dump.model import CLIENT, EventKind, State
from netplayground.dump.reader import Dump, open_dump

Address = tuple[str, int]

PLAIN = ("-o", "ip.check_checksum:TRUE", "-d", "tcp.port==1-65535,data", "-d", "udp.port==1-65535,data")
WARNING = 0x600000  # PI_WARN of epan/proto.h; below it are notes and chat (SYN, FIN)
# What tshark says about things that happen: a reset, and a port pair that is used again after a FIN.
FACTS = ("Connection reset (RST)", "A new tcp session is started with the same ports")
TOOL_DEADLINE_S = 600


@dataclass
class Stream:
    """One connection: the client sent `sent` and received `received`."""

    client: Address
    server: Address
    sent: bytes = b""
    received: bytes = b""

    @property
    def key(self) -> tuple[Address, Address]:
        return self.client, self.server

    def __str__(self) -> str:
        return f"{self.client} → {self.server}: {len(self.sent)} sent, {len(self.received)} received"


@dataclass(frozen=True)
class Tshark:
    """What tshark says of a file."""

    streams: list[Stream]
    complaints: list[str]
    errors: str = field(default="")


def check_dump(place: Place, *, connections: int | None = None, dump: Path | None = None) -> list[Stream]:
    """Assert all that holds for the dump of every orderly run; return its streams as tshark sees them."""
    path = dump or place.dump
    by_plg = read_streams(path)
    if connections is not None:
        assert len(by_plg) == connections, [str(stream) for stream in by_plg]
    seen = ask_tshark(path, len(by_plg))
    assert not seen.complaints, f"tshark flags {len(seen.complaints)} packets: {seen.complaints[:10]}"
    assert_same(seen.streams, by_plg)
    assert_read_by_tcpdump(path)
    assert_read_by_tcpflow(path, by_plg)
    assert_shown(place, path, by_plg)
    assert_whole(place, path)
    return seen.streams


def check_against(place: Place, capture: Path, *, cut: bool = False) -> None:
    """As check_dump, and the dump has what crossed the wire (`cut`: a client left before it read all)."""
    streams = check_dump(place)
    wire = ask_tshark(capture, len(streams)).streams
    assert len(wire) == len(streams), f"{len(wire)} connections on the wire, {len(streams)} in the dump"
    if cut:
        assert_holds(streams, wire)
    else:
        assert_same(streams, wire)


def assert_whole(place: Place, path: Path) -> None:
    """`plg check` finds it whole and complete."""
    ended = run(place, plg("check", str(path)))
    assert ended.status == 0, ended
    with open_dump(path) as dump:
        assert dump.state is State.COMPLETE


def assert_shown(place: Place, path: Path, streams: Iterable[Stream]) -> None:
    """`plg show --json` names the same connections with the same number of bytes each way."""
    ended = run(place, plg("show", "--json", str(path)))
    assert ended.status == 0, ended
    shown = [
        [((end["address"], end["port"]), end["bytes"]) for end in (each["client"], each["server"])]
        for each in json.loads(ended.stdout)["connections"]
    ]
    assert shown == [
        [(stream.client, len(stream.sent)), (stream.server, len(stream.received))] for stream in streams
    ]


def assert_same(one: Iterable[Stream], other: Iterable[Stream]) -> None:
    """Both hold the same connections with the same bytes; the first difference is named."""
    left, right = _by_key(one), _by_key(other)
    assert sorted(left) == sorted(right)
    for key, streams in left.items():
        assert len(streams) == len(right[key]), f"{key}: {len(streams)} connections and {len(right[key])}"
        for mine, theirs in zip(streams, right[key], strict=True):
            assert_equal_bytes(mine.sent, theirs.sent, f"{mine}, to the server")
            assert_equal_bytes(mine.received, theirs.received, f"{mine}, to the client")


def assert_holds(dump: Iterable[Stream], wire: Iterable[Stream]) -> None:
    """The dump has all that crossed the wire; it has more where a client left before it read all."""
    kept = _by_key(dump)
    for key, streams in _by_key(wire).items():
        assert len(streams) == len(kept.get(key, ())), f"{key}: {len(streams)} connections on the wire"
        for seen, recorded in zip(streams, kept[key], strict=True):
            assert_equal_bytes(recorded.sent, seen.sent, f"{seen}, to the server")
            assert_equal_bytes(
                recorded.received[: len(seen.received)], seen.received, f"{seen}, to the client"
            )


def assert_equal_bytes(actual: bytes, expected: bytes, what: str) -> None:
    if actual == expected:
        return
    shorter = min(len(actual), len(expected))
    at = next((i for i in range(shorter) if actual[i] != expected[i]), shorter)
    window = slice(max(0, at - 16), at + 32)
    windows = f"{actual[window]!r}, {expected[window]!r}"
    raise AssertionError(f"{what}: {len(actual)} bytes and {len(expected)} differ at {at}: {windows}")


def read_streams(path: Path) -> list[Stream]:
    """What plg's own reader takes from a dump."""
    with open_dump(path) as dump:
        return [_read_stream(dump, connection.id) for connection in dump.connections]


def _read_stream(dump: Dump, connection_id: int) -> Stream:
    connection = dump.connections[connection_id]
    sent, received = bytearray(), bytearray()
    for side, payload in chunks_of(dump, connection_id):
        (sent if side == CLIENT else received).extend(payload)
    client, server = ((str(end.address), end.port) for end in (connection.client, connection.server))
    return Stream(client, server, bytes(sent), bytes(received))


def chunks_of(dump: Dump, connection_id: int) -> Iterator[tuple[int, bytes]]:
    for event in dump.events(connection_id):
        if event.kind is EventKind.CHUNK:
            yield event.side, dump.payload(event)


def sums_of(path: Path) -> list[tuple[int, int, int, int]]:
    """Length and CRC-32 each way of every connection, for streams too large to be held in memory."""
    sums = []
    with open_dump(path) as dump:
        for connection in dump.connections:
            lengths, crcs = [0, 0], [0, 0]
            for side, payload in chunks_of(dump, connection.id):
                lengths[side] += len(payload)
                crcs[side] = zlib.crc32(payload, crcs[side])
            sums.append((lengths[0], crcs[0], lengths[1], crcs[1]))
    return sums


def ask_tshark(path: Path, count: int) -> Tshark:
    """All streams of a file (`count`, no more) and all that tshark flags in it, from one pass."""
    follow = [word for number in range(count + 1) for word in ("-z", f"follow,tcp,raw,{number}")]
    text, errors = _tshark(path, *follow, *_FLAGGED)
    head, *parts = text.split("=" * 67 + "\n")
    streams = {number: stream for part in parts for number, stream in _parse_follow(part)}
    assert count not in streams, f"tshark sees more than {count} connections"
    return Tshark([streams[number] for number in sorted(streams)], _complaints(head), errors)


def assert_unflagged(path: Path) -> None:
    """tshark flags no packet."""
    complaints = _complaints(_tshark(path, *_FLAGGED)[0])
    assert not complaints, f"tshark flags {len(complaints)} packets: {complaints[:10]}"


_FLAGGED = (
    *("-Y", f"_ws.expert.severity >= {WARNING} || tcp.analysis.flags || _ws.malformed"),
    *("-T", "fields", "-E", "aggregator=|", "-e", "frame.number", "-e", "_ws.expert.message"),
)


def _tshark(path: Path, *words: str) -> tuple[str, str]:
    (tshark,) = needs_program("tshark")
    ended = subprocess.run(
        [tshark, "-n", "-r", str(path), *PLAIN, *words],
        capture_output=True,
        text=True,
        timeout=TOOL_DEADLINE_S,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr


def _complaints(lines: str) -> list[str]:
    complaints = []
    for line in lines.splitlines():
        frame, _, messages = line.partition("\t")
        rest = [
            text
            for text in messages.split("|")
            if not text.startswith((*FACTS, "Connection ", "This frame "))
        ]
        if rest and frame:
            complaints.append(f"frame {frame}: {', '.join(rest)}")
    return complaints


def _parse_follow(part: str) -> Iterator[tuple[int, Stream]]:
    """One answer of `-z follow,tcp,raw`: the server's lines begin with a tab, all are hexadecimal."""
    head = re.search(r"Filter: tcp\.stream eq (\d+)\nNode 0: (.*):(\d+)\nNode 1: (.*):(\d+)\n", part)
    if head is None or not head[2]:  # no such connection: its nodes have no address
        return
    number, client, client_port, server, server_port = head.groups()
    sent: list[str] = []
    received: list[str] = []
    for line in part[head.end() :].splitlines():
        (received if line.startswith("\t") else sent).append(line.strip())
    ends = (client.strip("[]"), int(client_port)), (server.strip("[]"), int(server_port))
    yield int(number), Stream(*ends, bytes.fromhex("".join(sent)), bytes.fromhex("".join(received)))


def assert_read_by_tcpdump(path: Path) -> None:
    """tcpdump reads every packet, and none too short for its headers (-q: it guesses at no application)."""
    (tcpdump,) = needs_program("tcpdump")
    ended = subprocess.run(
        [tcpdump, "-nn", "-t", "-q", "-r", str(path)], capture_output=True, text=True, timeout=TOOL_DEADLINE_S
    )
    assert ended.returncode == 0, ended.stderr
    # tshark counts custom blocks among its frames.
    frames = _tshark(path, "-Y", "ip or ipv6", "-T", "fields", "-e", "frame.number")[0].splitlines()
    lines = [line for line in ended.stdout.splitlines() if line.startswith("IP")]
    assert len(lines) == len(frames)
    assert not [line for line in lines if "[|" in line or "truncated" in line]


def assert_read_by_tcpflow(path: Path, streams: Iterable[Stream]) -> None:
    """tcpflow makes a file of each direction in which bytes went: the same bytes."""
    (tcpflow,) = needs_program("tcpflow")
    expected: dict[tuple[Address, Address], list[bytes]] = {}
    for stream in streams:
        for way, content in ((stream.key, stream.sent), (stream.key[::-1], stream.received)):
            if content:
                expected.setdefault((way[0], way[1]), []).append(content)
    with tempfile.TemporaryDirectory(prefix="plg-tcpflow-") as folder:
        # %N is a number for each flow: in the order of the file, and unique.
        words = [tcpflow, "-r", str(path), "-o", folder, "-X", "/dev/null", "-T", "%N_%A.%a-%B.%b_%c"]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=TOOL_DEADLINE_S)
        assert ended.returncode == 0, ended.stderr
        found: dict[tuple[Address, Address], list[bytes]] = {}
        for file in sorted(Path(folder).iterdir(), key=lambda each: int(each.name.partition("_")[0])):
            source, _, destination = file.name.split("_")[1].partition("-")
            found.setdefault((_flow_end(source), _flow_end(destination)), []).append(file.read_bytes())
    assert sorted(found) == sorted(expected)
    for (source_end, destination_end), contents in expected.items():
        flows = found[source_end, destination_end]
        assert len(flows) == len(contents), f"{source_end} → {destination_end}"
        for flow, content in zip(flows, contents, strict=True):
            assert_equal_bytes(flow, content, f"tcpflow, {source_end} → {destination_end}")


def _flow_end(text: str) -> Address:
    """`010.000.000.001.06379`, `fd00:706c:67::1.06379` as tcpflow writes addresses and ports."""
    address, _, port = text.rpartition(".")
    if ":" in address:
        return address, int(port)
    return ".".join(str(int(octet)) for octet in address.split(".")), int(port)


def _by_key(streams: Iterable[Stream]) -> dict[tuple[Address, Address], list[Stream]]:
    result: dict[tuple[Address, Address], list[Stream]] = {}
    for stream in streams:
        result.setdefault(stream.key, []).append(stream)
    return result
