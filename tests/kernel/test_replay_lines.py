"""Replays of connections that only real namespaces can make: each family, a port used again at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from journey.runs import without_names

import netplayground
from needs import needs_root, needs_tun

_DEADLINE_S = 60.0

_SERVER = """
import socket, threading
def hold(port, serve):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=500)
    while True:
        connection, _ = listener.accept()
        try:
            serve(connection)
        except OSError:
            pass
        connection.close()
def shout(connection):
    connection.sendall(connection.recv(100).upper())
def listen(connection):
    while connection.recv(100):
        pass
threading.Thread(target=hold, args=(7001, listen), daemon=True).start()
hold(7000, shout)
"""

_EVERY_FAMILY = """
import os, socket
for address in (os.environ["PLG_ADDR_P1"], os.environ["PLG_ADDR6_P1"], "fe80::1%tun0"):
    with socket.create_connection((address, 7000)) as connection:
        connection.sendall(b"hello")
        print(connection.recv(100).decode())
"""

# What the client's kernel says of one connection comes between the SYN and the ACK of the next.
_SAME_PORT = """
import os, socket, struct
for number in range(60):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.bind((os.environ["PLG_ADDR"], 41000))
    connection.connect((os.environ["PLG_ADDR_P1"], 7001))
    connection.send(b"quick %d" % number)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
print("all stood")
"""


class Place:
    """A dump and the two programs of a run."""

    def __init__(self, folder: Path, client: str) -> None:
        self.folder = folder
        (folder / "server.py").write_text(_SERVER)
        (folder / "client.py").write_text(client)
        self.server, self.client = (f"{sys.executable} {folder}/{name}.py" for name in ("server", "client"))

    def plg(self, *words: str) -> str:
        """What the processes of a run say, that ends well."""
        finished = subprocess.run(
            [sys.executable, "-m", "netplayground", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            env={**os.environ, "PYTHONPATH": str(Path(netplayground.__file__).parent.parent)},
        )
        assert finished.returncode == 0, finished.stderr
        assert "diverged" not in finished.stderr
        return without_names(finished.stdout, ["p1", "p2"])

    def record(self) -> str:
        return self.plg(
            *("--record", "-f", "d", "--ready", "p1:7000", "--ready", "p1:7001", "--until", "p2"),
            *(self.server, self.client),
        )

    def replay(self, *words: str) -> str:
        """Played with both live, with the server canned, with the client canned."""
        both = self.plg("--replay", "-f", "d", *words, self.server, self.client)
        assert self.plg("--replay", "-f", "d", *words, "-", self.client) == both
        assert self.plg("--replay", "-f", "d", *words, self.server, "-") == ""
        return both


@pytest.fixture(autouse=True)
def can_run() -> None:
    needs_root()
    needs_tun()


@pytest.mark.parametrize("words", [(), ("-s", "192.168.77.0/24")])
def test_every_family_and_link_local_addresses_in_any_subnet(tmp_path: Path, words: tuple[str, ...]) -> None:
    place = Place(tmp_path, _EVERY_FAMILY)
    assert place.record() == place.replay(*words) == "HELLO\n" * 3


def test_a_client_that_aborts_and_uses_its_port_again_at_once_loses_no_connection(tmp_path: Path) -> None:
    place = Place(tmp_path, _SAME_PORT)
    assert place.record() == place.replay("--speed", "max") == "all stood\n"
