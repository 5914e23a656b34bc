"""Captures of all sorts of conversations at once, over every kind of link: each stream is what was said.

Who makes them knows what each side said; so nothing need be asked of another program.
"""

from __future__ import annotations

import random
import struct
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from capture.frames import CLIENT6, SERVER6, START_NS, Frame, Talk, in_time, pcap, pcapng, write
from capture.test_importing import LINKS, fragments, fragments6
from hypothesis import given, settings
from hypothesis import strategies as st

from netplayground.capture.importing import ImportOptions, import_captures
from netplayground.dump.check import check_dump
from netplayground.dump.reader import open_dump
from netplayground.packet import ip, udp
from netplayground.packet.tcp import ACK, FIN, PSH, RST, SYN

Chance = random.Random
Said = dict[tuple[str, int, int], bytes]
"""What was said, by address, client's port and side; of connections of the same ports one after another."""
_V6_KINDS = {1: (b"\x08\0", b"\x86\xdd"), 113: (b"\x08\0", b"\x86\xdd"), 276: (b"\x08\0", b"\x86\xdd")}


def chat(chance: Chance, played: Talk) -> None:
    for _ in range(chance.randrange(1, 4)):
        data = chance.randbytes(chance.randrange(1, 3000))
        played.say(chance.randrange(2), data, chance.choice([50, 1448]))


def plain(chance: Chance, played: Talk) -> None:
    chat(chance, played.open())
    played.close(chance.randrange(2))


def reset_with_data(chance: Chance, played: Talk) -> None:
    """RFC 9293, 3.5.3: what a RST carries says why; it is no data. tshark and tcpflow take it for some."""
    chat(chance, played.open())
    played.send(1, RST | ACK, b"go away")
    del played.said[1][-7:]


def half_close(chance: Chance, played: Talk) -> None:
    chat(chance, played.open())
    first = chance.randrange(2)
    played.send(first, PSH | FIN | ACK, b"and this")
    played.say(1 - first, chance.randbytes(900), 300)
    played.send(1 - first, FIN | ACK)


def fast_open(chance: Chance, played: Talk) -> None:
    played.send(0, SYN, b"early")
    played.send(1, SYN | ACK)
    played.send(0, ACK)
    chat(chance, played)


def kept_alive(chance: Chance, played: Talk) -> None:
    chat(chance, played.open())
    for garbage in (b"", b"\0", b"?"):
        played.send(chance.randrange(2), ACK, garbage, shift=-1, counts=False)
        played.say(chance.randrange(2), b"still here")
    played.close()


def sent_again(chance: Chance, played: Talk) -> None:
    """With other boundaries than before; and probes of a closed window."""
    data = chance.randbytes(3000)
    played.open()
    for at in range(0, 3000, 250):
        played.send(0, PSH | ACK, data[at : at + 1], counts=False)
        played.send(0, PSH | ACK, data[at : at + 250])
        begin = chance.randrange(max(0, at - 700), at + 249)
        end = chance.randrange(begin + 1, at + 251)
        played.send(0, PSH | ACK, data[begin:end], shift=begin - at - 250, counts=False)
    played.close()


def ports_used_again(chance: Chance, played: Talk) -> None:
    plain(chance, played)
    played.next = [number + chance.choice([1 << 17, 1 << 31]) & 0xFFFFFFFF for number in played.next]
    plain(chance, played)


SCENES: tuple[Callable[[Chance, Talk], None], ...] = (
    *(plain, reset_with_data, half_close, fast_open, kept_alive, sent_again, ports_used_again),
)


def mangled(chance: Chance, packet: bytes) -> list[bytes]:
    """Now and then behind options or extension headers, or in fragments in any order."""
    is_v4, fate = packet[0] >> 4 == 4, chance.random()
    if fate < 0.05:
        pieces = (fragments if is_v4 else fragments6)(packet, 512, chance.randrange(1 << 16))
        chance.shuffle(pieces)
        return pieces
    if fate > 0.05 + 0.05 * is_v4 + 0.05:
        return [packet]
    if is_v4:
        length = struct.pack(">H", len(packet) + 4)
        return [b"\x46" + packet[1:2] + length + packet[4:20] + b"\1" * 4 + packet[20:]]
    following = struct.pack(">HB", len(packet) - 32, 60)
    return [packet[:4] + following + packet[7:40] + b"\6\0\1\4\0\0\0\0" + packet[40:]]


def packets_in_packets() -> list[bytes]:
    """IP in IP, GRE and VXLAN: recorded, not looked into."""
    ends, inner = (b"\x0a\x09\0\1", b"\x0a\x09\0\2"), Talk(port=9).open().send(0, PSH | ACK, b"inner").packet
    within = [(4, inner), (47, b"\0\0\x08\0" + inner), (41, inner)]
    found = [ip.emit_header(*ends, protocol, len(data)) + data for protocol, data in within]
    return [*found, udp.emit_packet(ends[0], 4789, ends[1], 4789, b"\x08" + bytes(21) + b"\x08\0" + inner)]


def on_link(packet: bytes, link_type: int, link: bytes) -> bytes:
    """Put it behind its link's header; Ethernet fills it up to 60 octets."""
    if packet[0] >> 4 == 6 and link_type in _V6_KINDS:
        link = link.replace(*_V6_KINDS[link_type])
    whole = link + packet
    return whole.ljust(60, b"\xaa") if link_type == 1 else whole


def make(chance: Chance, link_type: int, link: bytes) -> tuple[list[Frame], Said]:
    """Give a capture of many conversations, mixed, and what was said in them."""
    queues, said = [], Said()
    for number in range(16):
        six = number % 4 == 3 and link_type != 228
        initial = chance.randrange(1 << 32), (1 << 32) - chance.randrange(1, 2000)
        ends = (CLIENT6, SERVER6) if six else ("10.1.2.3", "10.1.2.4")
        played = Talk(20_000 + number, 80, *ends, initial=initial)
        chance.choice(SCENES)(chance, played)
        queues.append(list(played.frames))
        for side in (0, 1):
            said[ends[0], played.port, side] = bytes(played.said[side])
    packets = packets_in_packets()
    while queues:
        queue = chance.choice(queues)
        packets += mangled(chance, queue.pop(0).packet)
        queues = [each for each in queues if each]
    frames = [Frame(on_link(packet, link_type, link), START_NS) for packet in packets]
    return in_time(frames, chance.choice([1000, 300_000])), said


def streams(path: Path) -> Said:
    check_dump(path)
    found: dict[tuple[str, int, int], bytes] = defaultdict(bytes)
    with open_dump(path) as dump:
        for each in dump.connections:
            for event in dump.events(each.id):
                found[str(each.client.address), each.client.port, event.side] += dump.payload(event)
    return {key: data for key, data in found.items() if data}


@pytest.mark.parametrize("name", [name for name in LINKS if name != "pppoe"])
@settings(max_examples=4)
@given(st.integers(0, 1 << 32), st.sampled_from([pcap, pcapng]), st.sampled_from("<>"))
def test_each_stream_is_what_was_said(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int, form: Callable[..., bytes], order: str
) -> None:
    link_type, link = LINKS[name]
    frames, said = make(random.Random(seed), link_type, link)
    folder = tmp_path_factory.mktemp("varied")
    capture = write(folder / "capture", form(frames, order, link_type=link_type, link=b""))
    for vectors in (True, False):
        imported = import_captures(ImportOptions((capture,), folder / "dump", vectors=vectors))
        assert streams(folder / "dump") == {key: data for key, data in said.items() if data}
        assert (imported.incomplete, imported.malformed, imported.written.datagrams) == (0, 0, 4)
