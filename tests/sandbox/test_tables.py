from __future__ import annotations

import socket
import sys
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.sandbox import tables

TCP_HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
)
LISTENING = (
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711\n"
)
CONNECTED = (
    "   1: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4712\n"
)

little_endian = pytest.mark.skipif(
    sys.byteorder != "little", reason="the sample is from a little-endian machine"
)


@little_endian
def test_listener_is_found() -> None:
    assert tables.parse_listening(TCP_HEAD + LISTENING) == {(IPv4Address("127.0.0.1"), 8080)}


@little_endian
def test_connections_behind_the_listeners_do_not_count() -> None:
    assert tables.parse_listening(TCP_HEAD + LISTENING + CONNECTED) == {(IPv4Address("127.0.0.1"), 8080)}


def test_empty_table_has_no_listener() -> None:
    assert tables.parse_listening(TCP_HEAD) == set()
    assert tables.parse_listening("") == set()


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_comes_back(address: IPv4Address | IPv6Address, port: int) -> None:
    packed = address.packed
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    digits = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    text = TCP_HEAD + f"   0: {digits}:{port:04X} 00000000:0000 0A 0:0 00:0 0 0 0 1 1\n"
    assert tables.parse_listening(text) == {(address, port)}


@pytest.mark.parametrize("beginning", ["", TCP_HEAD, TCP_HEAD + LISTENING, TCP_HEAD + LISTENING[:20]])
def test_listeners_may_go_on(beginning: str) -> None:
    assert tables.may_list_more(beginning)


def test_no_listener_comes_behind_a_connection() -> None:
    assert not tables.may_list_more(TCP_HEAD + LISTENING + CONNECTED)


@given(st.text())
def test_any_text_is_a_table_or_malformed(text: str) -> None:
    for parse in (tables.parse_listening, tables.parse_unix_listeners, tables.may_list_more):
        with suppress(tables.MalformedTable):
            parse(text)


@given(st.text())
def test_any_device_line_is_figures_or_malformed(text: str) -> None:
    with suppress(tables.MalformedTable):
        assert isinstance(tables.parse_tx_dropped(f"tun0: {text}", "tun0"), int)


def test_dropped_packets_of_one_device() -> None:
    text = (
        "Inter-|   Receive                          |  Transmit\n"
        " face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo ...\n"
        "    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
        "  tun0: 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116\n"
    )
    assert tables.parse_tx_dropped(text, "tun0") == 112
    assert tables.parse_tx_dropped(text, "tun1") == 0


def test_listening_unix_sockets_are_found_by_name() -> None:
    text = (
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "ffff8880: 00000002 00000000 00010000 0001 01 20001 /run/a socket\n"
        "ffff8881: 00000003 00000000 00000000 0001 03 20002 /run/connected\n"
        "ffff8882: 00000002 00000000 00010000 0001 01 20003 @abstract\n"
        "ffff8883: 00000002 00000000 00010000 0001 01 20004\n"
    )
    assert tables.parse_unix_listeners(text) == {"/run/a socket", "@abstract"}


def test_the_tables_of_this_machine_can_be_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = tables.parse_listening(Path("/proc/net/tcp").read_text())
        assert (ip_address("127.0.0.1"), server.getsockname()[1]) in found
    tables.parse_unix_listeners(Path("/proc/net/unix").read_text(errors="replace"))
    assert tables.parse_tx_dropped(Path("/proc/net/dev").read_text(), "lo") == 0
