"""The blocks: of fixed width where they are rewritten, and no parser believes what it reads."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.dump import blocks
from netplayground.dump.model import Process, RunHeader

names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,62}", fullmatch=True)
addresses = st.builds(IPv4Address, st.integers(0, 2**32 - 1)) | st.builds(
    IPv6Address, st.integers(0, 2**128 - 1)
)
processes = st.builds(
    Process, names, st.integers(1, 10_000), st.lists(addresses, max_size=3).map(tuple), st.text(max_size=40)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
)


def body(block: bytes) -> bytes:
    return block[blocks.CUSTOM_HEADER : -4]


def test_open_and_complete_differ_only_in_the_state() -> None:
    one, other = (blocks.emit_section(state, "0.1.0") for state in (blocks.STATE_OPEN, blocks.STATE_COMPLETE))
    assert len(one) == len(other) == blocks.SECTION_LENGTH
    different = [offset for offset, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    assert range(blocks.STATE_AT, blocks.STATE_AT + 8)[0] <= min(different)
    assert max(different) < blocks.STATE_AT + 8


@given(
    st.sampled_from([blocks.STATE_OPEN, blocks.STATE_COMPLETE]),
    st.from_regex(r"[0-9a-z.+]{1,40}", fullmatch=True),
)
def test_section_header_round_trip(state: bytes, version: str) -> None:
    assert blocks.parse_section(blocks.emit_section(state, version)) == (state, version)


@given(st.binary(max_size=200))
def test_any_octets_are_a_section_header_or_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        blocks.parse_section(data)


@given(
    st.builds(
        RunHeader,
        subnets=st.lists(st.text(max_size=20), max_size=2).map(tuple),
        processes=st.lists(processes, max_size=4).map(tuple),
        options=st.dictionaries(st.text(max_size=8), json_values, max_size=3),
        version=st.text(max_size=10),
        started_ns=st.integers(0, 2**64 - 1),
    )
)
def test_run_header_round_trip(run: RunHeader) -> None:
    block = blocks.emit_run(run, run.started_ns)
    assert len(block) % 4 == 0
    assert blocks.parse_run(blocks.parse_fact(body(block))) == run


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_octets_are_a_fact_or_a_value_error(data: bytes) -> None:
    try:
        fact = blocks.parse_fact(data)
    except ValueError:
        return
    assert isinstance(fact["kind"], str) and isinstance(fact["time"], int)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"kind":"x","time":-1}',
        b'{"kind":"x","time":1e3}',
        b'{"kind":"x","time":true}',
        b'{"kind":1,"time":1}',
        b'{"kind":"x","time":18446744073709551616}',
        b'{"kind":"x","time":1,"connection":-1}',
        b'{"kind":"x","time":1,"connection":2147483647}',
        b'{"kind":"x","time":1,"connection":"1"}',
        b'{"kind":"x","time":' + b"9" * 10_000 + b"}",
    ],
)
def test_facts_that_cannot_be_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        blocks.parse_fact(data)


@given(st.dictionaries(st.sampled_from(["processes", "subnets", "options", "version", "time"]), json_values))
def test_any_json_is_a_run_header_or_a_value_error(fields: dict[str, object]) -> None:
    try:
        run = blocks.parse_run(fields)
    except ValueError:
        return
    assert isinstance(run.version, str)


@pytest.mark.parametrize("length", range(8))
def test_blocks_are_whole_words_and_end_with_their_length(length: int) -> None:
    for block in (
        blocks.emit_fact("k" * length, 1, {"value": "x" * length}),
        blocks.emit_packet(bytes(20 + length), 1),
        blocks.emit_names([Process("n" * length, 1, (IPv4Address(1),), "")]),
    ):
        assert len(block) % 4 == 0
        assert int.from_bytes(block[4:8], "big") == int.from_bytes(block[-4:], "big") == len(block)
