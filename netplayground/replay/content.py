"""What of a datagram is compared, and what of a live request goes into its recorded answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from netplayground.replay.compare import shared_length
from netplayground.replay.flows import ICMP, ICMP_HEADER, ICMPV6, UDP, Flow, Letter
from netplayground.replay.masks import Mask
from netplayground.replay.options import EchoRule

_COVERED = b"\0\0plg\0\0"  # what a mask covers, on the tape and in what is said


class Content:
    """The rules of `--echo` and the masks of `--ignore`, for datagrams."""

    def __init__(self, rules: Sequence[EchoRule], masks: Sequence[Mask]) -> None:
        self._rules: dict[int, list[EchoRule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.port, []).append(rule)
        self._masks = masks
        self.masked = 0
        """Bytes that a mask covered in what was said."""

    def of(self, flow: Flow, payload: bytes, protocol: int, is_said: bool) -> bytes:
        """What is compared of a datagram."""
        if protocol != UDP:
            return _icmp_content(protocol, payload)
        payload = self._without_echo(flow, payload)
        return self._cover(payload, is_said) if self._masks else payload

    def shared_length(self, flow: Flow, one: bytes, other: bytes) -> int:
        """How many bytes at the beginning of two datagrams are alike, or need not be: an answer repeats
        them."""
        return shared_length(self._without_echo(flow, one), self._without_echo(flow, other))

    def _without_echo(self, flow: Flow, payload: bytes) -> bytes:
        for rule in self._rules.get(flow.port, ()):
            end = rule.offset + rule.length
            if len(payload) >= end:
                payload = payload[: rule.offset] + bytes(rule.length) + payload[end:]
        return payload

    def _cover(self, payload: bytes, is_said: bool) -> bytes:
        def cover(span: re.Match[bytes]) -> bytes:
            if not span.group():
                return b""
            if is_said:
                self.masked += len(span.group())
            return _COVERED

        for mask in self._masks:
            if not mask.is_address:
                payload = mask.pattern.sub(cover, payload)
            elif is_said:
                for recorded, either in mask.said.items():
                    payload = either.pattern.sub(recorded, payload)
        return payload

    def has_rule(self, flow: Flow) -> bool:
        """Whether answers of a flow repeat bytes of their requests."""
        return flow.port in self._rules

    def echoed(self, flow: Flow, payload: bytes) -> bytes:
        """The bytes of a request that its answer repeats: what tells several requests apart."""
        return b"".join(
            payload[rule.offset : rule.offset + rule.length] for rule in self._rules.get(flow.port, ())
        )

    def repeat(self, flow: Flow, request: bytes, answer: bytes) -> bytes:
        """The answer to a live request."""
        for rule in self._rules.get(flow.port, ()):
            end = rule.offset + rule.length
            if len(request) >= end and len(answer) >= end:
                answer = answer[: rule.offset] + request[rule.offset : end] + answer[end:]
        return answer


def _icmp_content(protocol: int, payload: bytes) -> bytes:
    """Of echo the sequence number, of an error that it is one; the rest is whole."""
    letter = Letter(protocol, 0, 0, b"", 0, 0, payload)
    if letter.is_echo_request:
        return b"echo request" + payload[6:8]
    if letter.is_echo_reply:
        return b"echo reply" + payload[6:8]
    return b"error" if len(payload) > ICMP_HEADER and protocol in (ICMP, ICMPV6) else payload
