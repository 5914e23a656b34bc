"""To which flow a datagram belongs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.flows import ICMP, ICMPV6, NOBODY, UDP, Flows, Letter, is_error

EPHEMERAL = (32768, 60999)
HERE, THERE = 0, 1
PORTS = st.integers(1, 65535)


def said(sender: int, receiver: int, source_port: int, port: int) -> Letter:
    return Letter(UDP, sender, receiver, b"", source_port, port, b"")


@given(st.lists(st.tuples(st.sampled_from([HERE, THERE]), PORTS, PORTS), max_size=30))
def test_what_is_on_the_tape_is_found_again(spoken: list[tuple[int, int, int]]) -> None:
    flows = Flows(EPHEMERAL)
    letters = [said(sender, 1 - sender, *ports) for sender, *ports in spoken]
    for letter in letters:
        flow, side = flows.find_or_make(letter)
        assert flow.processes[side] == letter.sender
    assert all(flows.find(letter) is not None for letter in letters)


def test_two_peers_on_the_same_port_have_one_flow() -> None:
    """As NTP's and many games' have."""
    flows = Flows(EPHEMERAL)
    first = flows.find_or_make(said(HERE, THERE, 123, 123))
    assert first[1] == CLIENT
    assert flows.find_or_make(said(THERE, HERE, 123, 123)) == (first[0], SERVER)
    assert len(flows) == 1


def test_what_comes_back_belongs_to_the_flow_though_it_comes_first_now() -> None:
    flows = Flows(EPHEMERAL)
    flow, _ = flows.find_or_make(said(HERE, THERE, 40000, 53))
    assert flows.find(said(THERE, HERE, 53, 40000)) == (flow, SERVER)
    assert flows.find(said(THERE, HERE, 53, 40001)) is None


def test_each_group_and_family_is_its_own_and_echo_is_the_same_in_both() -> None:
    flows = Flows(EPHEMERAL)
    groups = [bytes([224, 0, 0, 251]), b"\xff" * 4, b"\xff\x02" + bytes(13) + b"\xfb"]
    for group in groups:
        flows.find_or_make(Letter(UDP, HERE, NOBODY, group, 5353, 5353, b""))
    assert len(flows) == len(groups)
    flow, _ = flows.find_or_make(Letter(ICMP, HERE, THERE, b"", 0, 0, b"\x08" + bytes(7)))
    assert flows.find(Letter(ICMPV6, HERE, THERE, b"", 0, 0, b"\x80" + bytes(7))) == (flow, CLIENT)
    assert flows.find(Letter(ICMPV6, THERE, HERE, b"", 0, 0, b"\x81" + bytes(7))) == (flow, SERVER)


def test_an_error_is_of_the_other_side_of_what_it_is_about() -> None:
    flows = Flows(EPHEMERAL)
    question = said(HERE, THERE, 40000, 53)
    flow, _ = flows.find_or_make(question)
    error = Letter(ICMP, THERE, HERE, b"", 0, 0, b"\x03\x03", question)
    assert flows.find(error) == (flow, SERVER)
    assert is_error(ICMP, b"\x03\x03" + bytes(30)) and not is_error(ICMP, b"\x08\x00" + bytes(30))
