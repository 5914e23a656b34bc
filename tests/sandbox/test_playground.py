from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

from hypothesis import given
from hypothesis import strategies as st

from netplayground.sandbox.playground import identity_map, own_environment, peers_environment
from netplayground.sandbox.process import ProcessSpec

WEB = ProcessSpec("web", 1, "true", IPv4Interface("10.0.0.1/24"), IPv6Interface("fd00::1/64"))
DB = ProcessSpec("my-db", 2, "true", IPv4Address("10.0.0.2"))


def test_every_process_is_told_where_all_are() -> None:
    assert peers_environment([WEB, DB]) == {
        "PLG_ADDR_WEB": "10.0.0.1",
        "PLG_ADDR6_WEB": "fd00::1",
        "PLG_ADDR_MY_DB": "10.0.0.2",
    }


def test_a_process_is_told_who_and_where_it_is() -> None:
    assert own_environment(WEB) == {"PLG_NAME": "web", "PLG_ADDR": "10.0.0.1", "PLG_ADDR6": "fd00::1"}
    assert own_environment(DB) == {"PLG_NAME": "my-db", "PLG_ADDR": "10.0.0.2"}


def test_map_of_a_machine_without_namespaces_stays_whole() -> None:
    assert identity_map("         0          0 4294967295\n") == "0 0 4294967295\n"


def test_ids_of_a_container_keep_their_inner_numbers() -> None:
    assert identity_map("0 100000 1000\n1000 1000 1\n") == "0 0 1000\n1000 1000 1\n"


@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 3), max_size=5))
def test_inside_and_outside_are_the_same_in_every_range(ranges: list[tuple[int, int, int]]) -> None:
    own = "".join(f"{inside:10} {outside:10} {count:10}\n" for inside, outside, count in ranges)
    for line, (inside, _, count) in zip(identity_map(own).splitlines(), ranges, strict=True):
        assert line == f"{inside} {inside} {count}"
