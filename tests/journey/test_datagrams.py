"""Datagrams of real programs: each heard as it was sent, each in the dump as tshark sees it on the wire."""

from __future__ import annotations

import json

import pytest
from journey.datagrams import check_datagrams
from journey.ordinary import as_nobody
from journey.runs import Ended, Place, python, record, witnessed

from needs import needs_program, needs_root, needs_tun
from netplayground.dump.reader import open_dump

SERVERS = {4: "10.0.0.1", 6: "fd00:706c:67::1"}
CLIENTS = {4: "10.0.0.2", 6: "fd00:706c:67::2"}
FAMILIES = (4, 6)
PORT = 7007
SIZES = (0, 1, 1472, 1473, 65_507)


def said(ended: Ended) -> dict[str, object]:
    """What the programs said, one JSON object a line."""
    told: dict[str, object] = {}
    for line in ended.stdout.splitlines():
        told.update(json.loads(line))
    return told


@pytest.mark.parametrize("family", FAMILIES)
def test_datagrams_of_every_size_go_to_and_fro(place: Place, family: int) -> None:
    needs_root()
    needs_tun()
    server, capture = SERVERS[family], place.path / "wire.pcap"
    ask = witnessed(capture, SERVERS[4], python("post.py", "ask", server, PORT, *SIZES))
    ended = record(place, python("post.py", "echo", server, PORT), ask, options=("--until", "p2"))
    assert ended.status == 0, ended
    assert said(ended) == {"equal": [True] * len(SIZES)}, ended
    told = check_datagrams(place, {CLIENTS[family]: capture})
    lengths = [len(each.payload) for each in told if PORT in each.ports and each.payload != b"there?"]
    assert lengths == [size for size in SIZES for _ in range(2)]


@pytest.mark.parametrize("family", FAMILIES)
def test_thirty_of_the_largest_at_once_all_arrive(place: Place, family: int) -> None:
    needs_tun()
    server = SERVERS[family]
    ended = record(
        place,
        python("post.py", "take", server, PORT, 30, 65_507),
        python("post.py", "burst", server, PORT, 30, 65_507),
        options=("--until", "p2"),
    )
    assert said(ended) == {"heard": 30}, ended
    assert " 0 dropped" in ended.stderr, ended
    told = check_datagrams(place, {})
    assert sum(len(each.payload) == 65_507 for each in told) == 30


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [8, 3000])
def test_where_nobody_listens_a_connected_socket_is_refused(place: Place, family: int, size: int) -> None:
    needs_tun()
    call = python("post.py", "refused", SERVERS[family], PORT, size)
    ended = record(place, "sleep 60", call, options=("--until", "p2"))
    assert said(ended) == {"error": "ECONNREFUSED"}, ended
    question, answer = check_datagrams(place, {})
    assert question.payload == bytes(size)
    assert (answer.source, answer.icmp_type) == (SERVERS[family], 3 if family == 4 else 1)


@pytest.mark.parametrize("address", ["10.0.0.99", "fd00:706c:67::99"])
@pytest.mark.parametrize("size", [8, 3000])
def test_an_address_that_nobody_has_is_unreachable(place: Place, address: str, size: int) -> None:
    needs_tun()
    ended = record(place, python("post.py", "refused", address, PORT, size))
    assert said(ended) == {"error": "EHOSTUNREACH"}, ended
    with open_dump(place.dump) as dump:
        question, answer = dump.datagrams()
    assert (question.sender, question.receiver, answer.sender, answer.receiver) == ("p1", None, None, "p1")
    assert question.length == size
    check_datagrams(place, {})


def test_options_of_ipv6_stand_before_whole_datagrams_and_fragments(place: Place) -> None:
    needs_root()
    needs_tun()
    capture = place.path / "wire.pcap"
    ask = witnessed(capture, SERVERS[4], python("post.py", "extend", SERVERS[6], PORT, *SIZES[:-1], 60_000))
    ended = record(place, python("post.py", "echo", SERVERS[6], PORT), ask, options=("--until", "p2"))
    assert said(ended) == {"equal": [True] * len(SIZES)}, ended
    check_datagrams(place, {CLIENTS[6]: capture})
    with open_dump(place.dump) as dump:
        own = [each for each in dump.datagrams() if each.sender == "p2" and each.destination_port == PORT]
    assert {each.packet_length - each.length for each in own} == {48, 48 + 16}


def test_groups_and_broadcasts_reach_all_others(place: Place) -> None:
    needs_root()
    needs_tun()
    groups = ("224.0.0.251", "ff02::fb", "ff05::1234")
    targets = ("255.255.255.255", "10.0.0.255", *groups)
    capture = place.path / "wire.pcap"
    ended = record(
        place,
        *(python("post.py", "listen", PORT, name, *groups) for name in ("one", "two")),
        witnessed(capture, SERVERS[4], python("post.py", "tell", PORT, *targets)),
        options=("--until", "p3"),
    )
    assert said(ended) == {"answers": {target: ["one", "two"] for target in targets}}, ended
    told = check_datagrams(place, {"10.0.0.3": capture, "fd00:706c:67::3": capture})
    assert {each.destination for each in told} >= set(targets)


@pytest.mark.parametrize("family", FAMILIES)
def test_ping(place: Place, family: int) -> None:
    needs_root()
    needs_tun()
    needs_program("ping")
    capture = place.path / "wire.pcap"
    # With a deadline it goes on until so many answers have come: a slow machine's may come late.
    ping = "ping -n -w 20 -i 0.1"
    call = f"{ping} -c 3 {SERVERS[family]} && {ping} -c 2 -s 40000 {SERVERS[family]}"
    ended = record(place, "sleep 60", witnessed(capture, SERVERS[4], call), options=("--until", "p2"))
    assert ended.status == 0, ended
    told = check_datagrams(place, {CLIENTS[family]: capture})
    kinds = [each.icmp_type for each in told if each.icmp_type not in (-1, 1, 3)]
    asked, answered = (8, 0) if family == 4 else (128, 129)
    assert set(kinds) == {asked, answered} and kinds.count(asked) >= kinds.count(answered) >= 5


def overflows(counters: str, family: int) -> int:
    """How many datagrams came when a socket had no room for them (proc_net_snmp(5))."""
    if family == 6:
        return int(next(line.split()[1] for line in counters.splitlines() if "Udp6RcvbufErrors" in line))
    names, numbers = (line.split() for line in counters.splitlines() if line.startswith("Udp:"))
    return int(numbers[names.index("RcvbufErrors")])


@pytest.mark.parametrize("family", FAMILIES)
def test_iperf3(place: Place, family: int) -> None:
    needs_root()
    needs_tun()
    needs_program("iperf3")
    capture, server = place.path / "wire.pcap", SERVERS[family]
    counters = place.path / "counters"
    call = f"iperf3 -c {server} -u -b 40M -l 1200 -t 1 -J; until test -e {counters}; do sleep 0.01; done"
    count = f"cat /proc/net/snmp /proc/net/snmp6 > {counters}.begun; mv {counters}.begun {counters}"
    ended = record(
        place,
        f"iperf3 -s -1 > /dev/null; {count}",
        witnessed(capture, SERVERS[4], call),
        options=("--ready", "p1:5201", "--until", "p2"),
    )
    assert ended.status == 0, ended
    report = json.loads(ended.stdout)["end"]["sum"]
    # On a busy machine its own socket may be full: what the server does not hear is lost there or nowhere.
    no_room = overflows(counters.read_text(), family)
    assert (report["lost_packets"], report["packets"] > 3000) == (no_room, True), report
    told = check_datagrams(place, {CLIENTS[family]: capture})
    assert sum(len(each.payload) == 1200 for each in told) == report["packets"]


DNSMASQ = (
    "dnsmasq --no-daemon --no-resolv --no-hosts --port 5353 --user=root --log-facility=- "
    "--pid-file={place}/pid --address=/four.test/192.0.2.4 --address=/six.test/2001:db8::6 "
    "{texts} --edns-packet-max=1232"
)


@pytest.mark.parametrize("family", FAMILIES)
def test_dnsmasq_and_dig(place: Place, family: int) -> None:
    """A, AAAA, and an answer too large for a datagram, for which dig comes back over TCP."""
    needs_root()
    needs_tun()
    needs_program("dnsmasq", "dig")
    capture = place.path / "wire.pcap"
    texts = " ".join(f"--txt-record=large.test,{'x' * 200}{number}" for number in range(20))
    ask = f"dig +tries=1 +short @{SERVERS[family]} -p 5353"
    call = f"{ask} four.test A; {ask} six.test AAAA; {ask} large.test TXT | sort | uniq | wc -l"
    ended = record(
        place,
        DNSMASQ.format(place=place.path, texts=texts) + " 2> /dev/null",
        witnessed(capture, SERVERS[4], call),
        options=("--ready", "p1:5353", "--until", "p2"),
    )
    assert ended.status == 0, ended
    assert ended.stdout.split() == ["192.0.2.4", "2001:db8::6", "20"], ended
    told = check_datagrams(place, {CLIENTS[family]: capture})
    assert sum(5353 in each.ports for each in told) == 6
    with open_dump(place.dump) as dump:
        [connection] = dump.connections
        assert connection.server.port == 5353 and connection.bytes[1] > 4000


def test_an_ordinary_user_records_datagrams_and_ping_too(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("ping")
    server = SERVERS[6]
    ask = python("post.py", "ask", server, PORT, *SIZES).removeprefix("exec ")
    ended = record(
        place,
        python("post.py", "echo", server, PORT),
        f"{ask} && ping -q -n -c 2 -i 0.2 {SERVERS[4]} > /dev/null",
        options=("--until", "p2"),
        before=as_nobody(place),
    )
    assert ended.status == 0, ended
    assert said(ended) == {"equal": [True] * len(SIZES)}, ended
    told = check_datagrams(place, {})
    assert [each.icmp_type for each in told if each.icmp_type in (0, 8)] == [8, 0] * 2


@pytest.mark.parametrize("mtu", [1280, 9000, 65_535])
def test_datagrams_are_whole_whatever_the_mtu(place: Place, mtu: int) -> None:
    needs_tun()
    for family in FAMILIES:
        ended = record(
            place,
            python("post.py", "echo", SERVERS[family], PORT),
            python("post.py", "ask", SERVERS[family], PORT, *SIZES),
            options=("--until", "p2", "--mtu", str(mtu)),
        )
        assert said(ended) == {"equal": [True] * len(SIZES)}, ended
        check_datagrams(place, {})


def test_a_line_for_each_packet(place: Place) -> None:
    needs_tun()
    ended = record(
        place,
        python("post.py", "echo", SERVERS[4], PORT),
        python("post.py", "ask", SERVERS[4], PORT, 100, 2000),
        options=("--until", "p2", "-vv"),
    )
    assert said(ended) == {"equal": [True, True]}, ended
    assert f" -> {SERVERS[4]}:{PORT} UDP 100 bytes" in ended.stderr
    assert f" -> {SERVERS[4]} UDP fragment at 1480 528 bytes" in ended.stderr
    check_datagrams(place, {})


def test_a_wire_that_differs_in_one_byte_is_found(place: Place) -> None:
    """What this file relies on."""
    needs_root()
    needs_tun()
    capture = place.path / "wire.pcap"
    ask = witnessed(capture, SERVERS[4], python("post.py", "ask", SERVERS[4], PORT, 100, 3000))
    record(place, python("post.py", "echo", SERVERS[4], PORT), ask, options=("--until", "p2"))
    wire = capture.read_bytes()
    said_then = [each for each in check_datagrams(place, {CLIENTS[4]: capture}) if len(each.payload) == 3000]
    at = wire.index(said_then[0].payload[:100]) + 50
    for changed in (wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :], wire[:24]):
        capture.write_bytes(changed)
        with pytest.raises(AssertionError):
            check_datagrams(place, {CLIENTS[4]: capture})
