"""The courier of a recording: writes datagrams down, then hands them on, a batch at a time.

A datagram waits in the writer's batch until `flush`: one write to the dump, then one write to each receiver.
So what a process hears is in the file, and many datagrams that come together cost one call for the file. What
is handed on is the packet as it stands in the batch, its checksum complete, behind a virtio header of its own
in the octets that the writer has no more use for.

A fragment goes on at once: no program hears of it before the datagram is whole. The one that makes it whole
waits in the batch's order for the datagram's own place in the dump.
"""

from __future__ import annotations

from collections.abc import Sequence

from netplayground.dump.datagram import ROOM, DatagramWriter
from netplayground.packet import virtio
from netplayground.packet.checksum import Octets
from netplayground.traffic.link import Link

_VIRTIO = virtio.HEADER_LENGTH


class Courier:
    """Records and delivers datagrams."""

    __slots__ = ("_batch", "_log", "_view")

    def __init__(self, log: DatagramWriter) -> None:
        self._log = log
        self._view = log.view
        # Receivers, and where in the log's buffer the packet begins and ends; or its last fragment.
        self._batch: list[tuple[Sequence[Link], int, int, bytes]] = []

    def datagram(self, _sender: Link, packet: Octets, receivers: Sequence[Link]) -> None:
        """A whole packet, whose source address tells its sender."""
        if self._log.fill > ROOM:
            self.flush()
        begin = self._log.put(packet)
        self._batch.append((receivers, begin, begin + len(packet), b""))

    def named(self, sender: Link | None, packet: Octets, receivers: Sequence[Link]) -> None:
        """A whole packet that must say whose it is; None: the playground's own."""
        if self._log.fill > ROOM:
            self.flush()
        begin = self._log.put_named(packet, sender.position if sender else 0)
        self._batch.append((receivers, begin, begin + len(packet), b""))

    def fragment(self, packet: Octets, receivers: Sequence[Link]) -> None:
        """A fragment after which its datagram is not yet whole."""
        for receiver in receivers:
            receiver.send(packet)

    def reassembled(self, sender: Link, whole: bytes, last: Octets, receivers: Sequence[Link]) -> None:
        """A datagram that came in fragments, of which `last` is still to be handed on."""
        if self._log.fill > ROOM:
            self.flush()
        self._log.put_named(whole, sender.position)
        self._batch.append((receivers, 0, 0, bytes(last)))

    def flush(self) -> None:
        """Write down what has come, then hand it on."""
        self._log.commit()
        view, batch = self._view, self._batch
        for receivers, begin, end, fragment in batch:
            if fragment:
                self.fragment(fragment, receivers)
                continue
            frame = view[begin - _VIRTIO : end]
            frame[:_VIRTIO] = virtio.PLAIN
            for receiver in receivers:
                receiver.write(frame)
        batch.clear()
