"""The post of a replay: what live processes say in datagrams becomes letters for the player, and the player's
letters become packets for live processes.

Addresses are those of the replay on the wire, and processes in letters: so another subnet, or the other
family, makes no difference. Nothing goes from one live process to another: each hears what the tape has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address

from netplayground.packet import icmp, ip, udp
from netplayground.packet.checksum import Octets
from netplayground.packet.quote import parse_quote
from netplayground.replay.exchange import Delivery
from netplayground.replay.flows import LINK_LOCAL, Letter, is_error
from netplayground.replay.tape import NOBODY
from netplayground.session.plan import PlannedProcess
from netplayground.traffic.link import Link

_BROADCAST = b"\xff" * 4
_QUOTED_MOST = 548  # octets of a packet that an error quotes (RFC 1812, 4.3.2.3)
# What says the same in the other family: echo request and reply, port and host unreachable (RFC 792, 4443).
_TO_V6 = {(8, 0): (128, 0), (0, 0): (129, 0), (3, 3): (1, 4), (3, 1): (1, 3)}
_TO_V4 = {six: four for four, six in _TO_V6.items()}


class Post:
    """Reads and writes packets of everything but TCP."""

    def __init__(
        self,
        processes: Sequence[PlannedProcess],
        process_at: Mapping[bytes, int],
        links: Mapping[int, Link],
        subnet: IPv4Network,
        recorded_subnet: IPv4Network | None,
        tell: Callable[[Letter, int], None],
    ) -> None:
        """`process_at`: numbers by packed address; `links`: of live processes, by number; `tell` takes what a
        live process says, and the version of IP."""
        self._processes = processes
        self._process_at = process_at
        self._links = links
        self._numbers = {link.name: number for number, link in links.items()}
        self._broadcast = subnet.broadcast_address.packed
        self._recorded_broadcast = (recorded_subnet or subnet).broadcast_address.packed
        self._tell = tell

    # What live processes say: a DatagramListener.

    def datagram(self, sender: Link, packet: Octets, _receivers: Sequence[Link]) -> None:
        """A whole packet."""
        parsed = ip.parse_packet(packet)
        version = parsed.version
        if version == 6 and parsed.source[:2] == b"\xfe\x80":
            version |= LINK_LOCAL
        letter = self._letter(sender, parsed)
        if letter is not None:
            self._tell(letter, version)

    def named(self, sender: Link | None, packet: Octets, receivers: Sequence[Link]) -> None:
        """An error, or a packet without a sender's address; None: the playground says that nobody is
        there."""
        if sender is not None:
            self.datagram(sender, packet, receivers)
            return
        for receiver in receivers:
            receiver.send(packet)

    def fragment(self, packet: Octets, receivers: Sequence[Link]) -> None:
        """Only whole datagrams are of interest."""

    def reassembled(self, sender: Link, whole: bytes, _last: Octets, receivers: Sequence[Link]) -> None:
        """A datagram that came in fragments."""
        self.datagram(sender, whole, receivers)

    def flush(self) -> None:
        """Nothing waits here."""

    def _letter(self, sender: Link, packet: ip.IpPacket) -> Letter | None:
        payload = bytes(packet.payload)
        source_port = port = 0
        quoted = None
        if packet.protocol == ip.UDP:
            datagram = udp.parse_datagram(payload)
            source_port, port = datagram.source_port, datagram.destination_port
            payload = bytes(datagram.payload)
        elif is_error(packet.protocol, payload):
            quoted = self._quoted(payload)
            if quoted is None:
                return None
        receiver = self._process_at.get(packet.destination, NOBODY)
        group = b"" if receiver != NOBODY else self._group(packet.destination)
        number = self._numbers[sender.name]
        return Letter(packet.protocol, number, receiver, group, source_port, port, payload, quoted)

    def _group(self, destination: bytes) -> bytes:
        """As the recording names it; nothing where the destination is one that nobody has."""
        if destination == self._broadcast:
            return self._recorded_broadcast
        is_group = destination[0] == 0xFF if len(destination) == 16 else destination[0] & 0xF0 == 0xE0
        return destination if is_group or destination == _BROADCAST else b""

    def _quoted(self, payload: bytes) -> Letter | None:
        quote = parse_quote(payload)
        if quote is None or quote.source not in self._process_at:
            return None
        receiver = self._process_at.get(quote.destination, NOBODY)
        sender = self._process_at[quote.source]
        return Letter(
            quote.protocol, sender, receiver, b"", quote.source_port, quote.destination_port, quote.payload
        )

    # What live processes hear.

    def deliver(self, process: int, delivery: Delivery) -> None:
        """Hand a live process a letter."""
        letter, version = delivery.letter, delivery.version
        if letter.group:
            version = version if len(letter.group) == 16 else 4
        source = self._address(letter.sender, version)
        here = self._address(process, version)
        destination = here if not letter.group else letter.group
        if destination == self._recorded_broadcast:
            destination = self._broadcast
        if letter.quoted is not None:
            packet = self._error(source, destination, letter, letter.quoted)
        elif letter.protocol == ip.UDP:
            packet = udp.emit_packet(source, letter.source_port, destination, letter.port, letter.payload)
        elif letter.protocol in (ip.ICMP, ip.ICMPV6):
            packet = _emit_icmp(source, destination, letter.payload)
        else:
            header = ip.emit_header(source, destination, letter.protocol, len(letter.payload))
            packet = header + letter.payload
        self._links[process].send(packet)

    def _error(self, source: bytes, destination: bytes, letter: Letter, quoted: Letter) -> bytes:
        """An error about what the live process said itself."""
        about = udp.emit_packet(destination, quoted.source_port, source, quoted.port, quoted.payload)
        return _emit_icmp(source, destination, letter.payload[:8] + about[:_QUOTED_MOST])

    def _address(self, process: int, version: int) -> bytes:
        planned = self._processes[process]
        if version == 4:
            return planned.address4.packed
        if version & LINK_LOCAL:
            return IPv6Address(f"fe80::{planned.position:x}").packed
        return planned.address6.packed


def _emit_icmp(source: bytes, destination: bytes, payload: bytes) -> bytes:
    """A message of ICMP in the family of its addresses."""
    said = payload[0], payload[1]
    kind, code = (_TO_V4 if len(source) == 4 else _TO_V6).get(said, said)
    return icmp.emit_message(source, destination, kind, code, payload[4:])
