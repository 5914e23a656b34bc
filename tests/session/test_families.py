"""In which family a live server is reached."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netplayground.session.families import Families

PORT = 53


class Server:
    """Has sockets, as its kernel tells."""

    def __init__(self, *addresses: str) -> None:
        self.sockets = {(ip_address(address), PORT) for address in addresses}
        self.families = Families(lambda: self.sockets, lambda: self.sockets)

    def listens(self, *addresses: str) -> None:
        self.sockets = {(ip_address(address), PORT) for address in addresses}


def test_the_recorded_family_is_tried_first() -> None:
    assert Server("fd00::1").families.to_connect(PORT, 4, 0) == 4


@pytest.mark.parametrize(("recorded", "address", "other"), [(4, "::", 6), (6, "10.0.0.1", 4)])
def test_who_listened_before_it_refused_is_asked_in_the_other_family(
    recorded: int, address: str, other: int
) -> None:
    server = Server()
    assert server.families.to_connect(PORT, recorded, 1) == recorded
    server.listens(address)
    assert server.families.to_connect(PORT, recorded, 2) == recorded  # it may have come up just now
    assert server.families.to_connect(PORT, recorded, 3) == other


def test_who_refuses_in_a_family_in_which_it_listens_is_asked_there_again() -> None:
    server = Server("0.0.0.0", "::")
    assert [server.families.to_connect(PORT, 4, failures) for failures in range(5)] == [4] * 5


@pytest.mark.parametrize(
    ("addresses", "recorded", "version"),
    [
        ((), 4, None),
        (("127.0.0.1", "::1"), 4, None),
        (("10.0.0.1",), 4, 4),
        (("10.0.0.1",), 6, 4),
        (("::",), 4, 4),
        (("fd00::1",), 4, 6),
        (("::",), 6, 6),
        (("0.0.0.0", "::"), 6, 6),
    ],
)
def test_a_datagram_goes_to_a_socket_that_takes_it(
    addresses: tuple[str, ...], recorded: int, version: int | None
) -> None:
    families = Server(*addresses).families
    assert families.to_deliver(PORT, recorded) == version
    assert families.of_datagrams(PORT, recorded) == (version or recorded)
