"""The forwarder: hands datagrams from one live process to the others as they come, and keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence

from netplayground.packet.checksum import Octets
from netplayground.traffic.link import Link


class Forwarder:
    """Delivers datagrams."""

    def datagram(self, _sender: Link, packet: Octets, receivers: Sequence[Link]) -> None:
        """A whole packet."""
        for receiver in receivers:
            receiver.send(packet)

    def named(self, _sender: Link | None, packet: Octets, receivers: Sequence[Link]) -> None:
        """A whole packet that does not tell its sender."""
        for receiver in receivers:
            receiver.send(packet)

    def fragment(self, packet: Octets, receivers: Sequence[Link]) -> None:
        """A fragment."""
        for receiver in receivers:
            receiver.send(packet)

    def reassembled(self, _sender: Link, _whole: bytes, last: Octets, receivers: Sequence[Link]) -> None:
        """The last fragment of a datagram."""
        for receiver in receivers:
            receiver.send(last)

    def flush(self) -> None:
        """Nothing waits here."""
