"""Whether the datagrams of a dump are those that crossed the wire: read by tshark, tcpdump and plg itself.

The wire is what tcpdump captured on a process's own device (see witness.py). There a datagram may be in
fragments and its checksum unfinished; in the dump it is one packet with its right checksum. tshark is told
that every port carries plain data, so that no dissector of some application guesses.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from journey.dumps import assert_whole
from journey.runs import Place

from needs import needs_program
from netplayground.dump.reader import open_dump

DEADLINE_S = 120
DISCARD_PORT = 9  # where a witness sends its marker
# What a kernel asks of routers, and a playground has none (MLD, router solicitations, IGMP).
TO_ROUTERS = frozenset({130, 131, 132, 133, 143})
ICMP = (1, 58)

PLAIN = (
    *("-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"),
    *("-d", "udp.port==1-65535,data", "-d", "tcp.port==1-65535,data"),
)
FIELDS = (
    *("ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ip.proto", "ipv6.nxt", "udp.srcport", "udp.dstport"),
    *("udp.length", "data.data", "icmp.type", "icmpv6.type"),
)
BAD = "ip.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0 || _ws.malformed"


@dataclass(frozen=True)
class Said:
    """One datagram or message: who to whom, and what; of ICMP only its type."""

    source: str
    destination: str
    ports: tuple[int, int]
    payload: bytes
    icmp_type: int = -1


def check_datagrams(place: Place, captures: dict[str, Path], *, cut: bool = False) -> list[Said]:
    """Assert that tshark and plg read the same datagrams in the dump, all in order, and that they are what
    crossed the wire at each address that was witnessed (`cut`: its program spoke on after the capture)."""
    assert_whole(place, place.dump)
    _assert_read_by_tcpdump(place.dump)
    bad = f"{BAD} || (icmpv6.checksum.status == 0)"
    assert _tshark(place.dump, "-Y", bad) == "", "a checksum that is not right"
    said = list(read_datagrams(place.dump))
    # An ICMP error has a quotation: tshark shows that one's fields too.
    assert list(ask_tshark(place.dump)) == said
    for address, capture in captures.items():
        wire = [each for each in ask_tshark(capture) if _counts(each)]
        for way in ("source", "destination"):
            ours = [each for each in said if getattr(each, way) == address and _counts(each)]
            theirs = [each for each in wire if getattr(each, way) == address]
            told = f"{way} {address}: {len(ours)} in the dump, {len(theirs)} on the wire"
            assert (ours[: len(theirs)] if cut else ours) == theirs, told
    return said


def read_datagrams(path: Path) -> Iterator[Said]:
    """What plg's own reader takes from a dump."""
    with open_dump(path) as dump:
        for each in dump.datagrams():
            data = dump.payload(each)
            ends = str(each.source), str(each.destination)
            if each.protocol in ICMP:
                yield Said(*ends, (0, 0), b"", data[0])
            else:
                yield Said(*ends, (each.source_port, each.destination_port), data)


def ask_tshark(path: Path) -> Iterator[Said]:
    """What tshark takes from a file of packets; datagrams in fragments are told with their last one."""
    fields = [word for name in FIELDS for word in ("-e", name)]
    wanted = ("-Y", "(udp || icmp || icmpv6) && !tcp", "-T", "fields", "-E", "occurrence=f")
    for line in _tshark(path, *wanted, *fields).splitlines():
        words = line.split("\t")
        source, destination = words[0] or words[2], words[1] or words[3]
        ends = str(ip_address(source)), str(ip_address(destination))
        kind = words[10] or words[11]
        if kind:
            yield Said(*ends, (0, 0), b"", int(kind))
        else:
            yield Said(*ends, (int(words[6]), int(words[7])), bytes.fromhex(words[9]))


def _counts(said: Said) -> bool:
    """Whether it is the programs' own; the witness's marker and what it causes come after the capture."""
    if said.icmp_type in TO_ROUTERS:
        return False
    return DISCARD_PORT not in said.ports and said.icmp_type not in (3, 1)


def _tshark(path: Path, *words: str) -> str:
    (tshark,) = needs_program("tshark")
    ended = subprocess.run(
        [tshark, "-n", "-r", str(path), *PLAIN, *words], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _assert_read_by_tcpdump(path: Path) -> None:
    (tcpdump,) = needs_program("tcpdump")
    ended = subprocess.run(
        [tcpdump, "-nn", "-v", "-r", str(path)], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert ended.returncode == 0, ended.stderr
    assert "bad udp cksum" not in ended.stdout and "truncated" not in ended.stdout
