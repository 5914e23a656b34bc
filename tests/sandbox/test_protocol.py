from __future__ import annotations

import json
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.sandbox import protocol

_INTEGERS = st.integers(-(2**31), 2**31)
MESSAGES: st.SearchStrategy[protocol.Message] = st.one_of(
    st.sampled_from([protocol.Mapped(), protocol.Ready(), protocol.Start(), protocol.Finish()]),
    st.builds(protocol.Refused, st.text(), _INTEGERS, st.text()),
    st.builds(protocol.Deliver, _INTEGERS),
    st.builds(protocol.CommandFailed, _INTEGERS, st.text()),
    st.builds(protocol.Exited, _INTEGERS),
)


@given(MESSAGES)
def test_every_message_comes_back(message: protocol.Message) -> None:
    assert protocol.parse_message(protocol.emit_message(message)) == message


@given(st.binary())
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    with suppress(protocol.MalformedMessage):
        protocol.parse_message(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=4)
)


@given(st.lists(_JSON, max_size=4) | _JSON, st.sampled_from(["Exited", "Refused", "Start", "Message"]))
def test_any_json_is_a_message_or_malformed(value: object, name: str) -> None:
    for data in (value, [name, *(value if isinstance(value, list) else [value])]):
        with suppress(protocol.MalformedMessage):
            protocol.parse_message(json.dumps(data).encode())


def test_truth_is_no_number() -> None:
    with pytest.raises(protocol.MalformedMessage):
        protocol.parse_message(b'["Exited", true]')


def test_end_of_file_is_none() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here:
        protocol.send(there, protocol.Exited(256))
        there.close()
        assert protocol.receive(here) == protocol.Exited(256)
        assert protocol.receive(here) is None


def test_an_end_that_left_words_unread_is_none() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here:
        protocol.send(here, protocol.Start())
        there.close()
        assert protocol.receive(here) is None
