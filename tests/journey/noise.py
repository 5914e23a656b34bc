"""What no kernel sends: a program that writes packets into its own device as they are, and one that hears.

    noise.py flood HOST PORT COUNT            as fast as it can; says how many it has sent
    noise.py shout PEER SEED COUNT            broken packets to PEER and everybody, then a proper one
    noise.py hear PORT                        says what came to its socket, up to the proper one

It stands alone (standard library only), because it runs inside the processes of a run; as root there.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys

PROPER = b"that was all"
PORT = 7007
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
SOL_PACKET, PACKET_VNET_HDR = 263, 15
PATIENCE_S = 20.0


def flood(host: str, port: str, count: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        # Not connected: it hears of no refusal.
        for number in range(int(count)):
            own.sendto(number.to_bytes(4, "big"), (host, int(port)))
    print(json.dumps({"sent": int(count)}), flush=True)


def shout(peer: str, seed: str, count: str) -> None:
    dice, peer6 = random.Random(int(seed)), f"fd00:706c:67::{peer.rpartition('.')[2]}"
    devices = [_device(with_header) for with_header in (False, True)]
    for number in range(int(count)):
        packet = _broken(dice, peer, peer6)
        kind = ETH_P_IPV6 if packet[:1] >= b"\x60" else ETH_P_IP
        header = _header(dice) if number % 3 == 0 else b""
        try:
            devices[bool(header)].sendto(header + packet, ("tun0", kind))
        except OSError:  # even its own kernel does not take everything
            continue
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.sendto(PROPER, (peer, PORT))


def _device(with_header: bool) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    if with_header:
        made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    return made


def _header(dice: random.Random) -> bytes:
    places = [dice.choice((0, 6, 16, 20, 40, 48, 60, 1000, 65_535)) for _ in range(4)]
    return struct.pack("=BBHHHH", dice.choice((0, 1, 1, 2)), dice.choice((0, 0, 1, 3, 4, 5)), *places)


def _broken(dice: random.Random, peer: str, peer6: str) -> bytes:
    """Nearly a datagram for the peer: cut, changed, from somebody else, a fragment of what is never whole."""
    payload = dice.randbytes(dice.randrange(64))
    upper = struct.pack(">HHHH", 40_000, PORT, 8 + len(payload), 0) + payload
    protocol = dice.choice((17, 17, 17, 1, 58, 6, 44, 0, 60, dice.randrange(256)))
    if dice.random() < 0.5:
        header = _ipv4_header(dice, peer, protocol, len(upper))
    else:
        source = dice.choice(("fd00:706c:67::2", "fd00:706c:67::1", "::"))
        target = dice.choice((peer6, "ff02::1"))
        ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
        header = struct.pack(">IHBB", 6 << 28, len(upper), protocol, 64) + ends
    changed = bytearray(header + upper)
    for _ in range(dice.choice((0, 0, 1, 3))):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed[: dice.choice((len(changed), len(changed), dice.randrange(1, len(changed) + 1)))])


def _ipv4_header(dice: random.Random, peer: str, protocol: int, length: int) -> bytes:
    """With its right checksum."""
    source, target = dice.choice(("10.0.0.2", "10.0.0.1", "8.8.8.8")), dice.choice((peer, "255.255.255.255"))
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    fragment = dice.choice((0, 0, 0x2000, 0x2001, 0x0003, 0x1FFF))
    start = struct.pack(">BBHHHBB", 0x45, 0, 20 + length, dice.randrange(8), fragment, 64, protocol)
    total = sum(struct.unpack(">9H", start[:10] + ends))
    total = (total & 0xFFFF) + (total >> 16)
    return start + struct.pack(">H", 0xFFFF - total) + ends


def hear(port: str) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        own.bind(("::", int(port)))
        own.settimeout(PATIENCE_S)
        heard = []
        while (data := own.recv(65_536)) != PROPER:
            heard.append(data.hex())
    print(json.dumps({"heard": heard}), flush=True)


if __name__ == "__main__":
    parts = {part.__name__: part for part in (flood, shout, hear)}
    parts[sys.argv[1]](*sys.argv[2:])
