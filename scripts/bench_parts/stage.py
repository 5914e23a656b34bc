"""Network namespaces for the ways that do without plg, by `unshare`, `nsenter` and `ip`.

A namespace lives as long as its holder, a process that ends when its standard input does. The bench holds the
other end, so whatever happens to the bench (SIGKILL too), no namespace stays behind. Nothing is written to
/run/netns. An ordinary user gets one user namespace around them all, in which he is root.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

LISTEN = "0A"  # the state column of /proc/net/tcp (include/net/tcp_states.h)
LISTEN_DEADLINE_S = 10.0
_PIECE = bytes(1 << 20)


class Failed(Exception):
    """The bench could not go on; says what its programs said."""


def warm(place: Path, octets: int) -> None:
    """Let the page cache take so many octets, and give them back.

    A virtual machine's host may take what is free: then the first touch of each page costs more than all that
    is measured, and whoever comes first pays for the others.
    """
    path = place / "warm"
    with path.open("wb", buffering=0) as file:
        for _ in range(octets // len(_PIECE)):
            file.write(_PIECE)
    path.unlink()


class Holder:
    """A process that does nothing but hold its namespaces."""

    def __init__(self, unshare: list[str]) -> None:
        command = [*unshare, "sh", "-c", "echo up; exec cat"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"up\n":
            raise Failed(f"cannot make a namespace: {' '.join(unshare)} failed")

    @property
    def pid(self) -> int:
        return self.process.pid

    def close(self) -> None:
        self.process.communicate()  # closes its input, which ends it


class Space:
    """One network namespace of a stage."""

    def __init__(self, holder: Holder, enter: list[str]) -> None:
        self.holder = holder
        self._enter = [*enter, f"--net=/proc/{holder.pid}/ns/net", "--"]

    def popen(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a program in it, in a session of its own, that writes what it says to the log."""
        with log.open("ab") as out:
            return subprocess.Popen(
                [*self._enter, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *command: str) -> None:
        subprocess.run([*self._enter, *command], check=True, stdin=subprocess.DEVNULL)

    def wait_for_listener(self, port: int, program: subprocess.Popen[bytes], log: Path) -> None:
        """Wait until the program listens on the port, without connecting to it."""
        end = time.monotonic() + LISTEN_DEADLINE_S
        while not self._has_listener(port):
            if time.monotonic() > end or program.poll() is not None:
                said = log.read_text(errors="replace")[-2000:]
                raise Failed(f"nothing listens on port {port}: {program.args!r} said:\n{said}")
            time.sleep(0.005)

    def _has_listener(self, port: int) -> bool:
        for table in ("tcp", "tcp6"):
            path = Path(f"/proc/{self.holder.pid}/net/{table}")
            for line in path.read_text().splitlines()[1:] if path.exists() else ():
                fields = line.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    return True
        return False


class Stage:
    """Some namespaces and the veth pairs between them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._enter = ["nsenter"]
        self._unshare = ["unshare", "--net"]
        if os.geteuid() != 0:
            user = self._hold(["unshare", "--user", "--map-root-user"])
            inside = ["nsenter", f"--user=/proc/{user.pid}/ns/user", "--preserve-credentials"]
            self._enter, self._unshare = inside, [*inside, "--", "unshare", "--net"]

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _hold(self, unshare: list[str]) -> Holder:
        holder = Holder(unshare)
        self._stack.callback(holder.close)
        return holder

    def space(self) -> Space:
        space = Space(self._hold(self._unshare), self._enter)
        space.run("ip", "link", "set", "lo", "up")
        # As plg does for its namespaces: else connections that one client opens and closes one after another
        # run out of ports at 28,232, in whichever namespace closes first.
        space.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse")
        return space

    def join(self, one: Space, one_address: str, other: Space, other_address: str) -> None:
        """Lay a veth pair between two namespaces, each end with its address and prefix length."""
        ends = ((one, f"to{other.holder.pid}", one_address), (other, f"to{one.holder.pid}", other_address))
        one.run(
            *("ip", "link", "add", ends[0][1], "type", "veth"),
            *("peer", "name", ends[1][1], "netns", str(other.holder.pid)),
        )
        for space, device, address in ends:
            space.run("ip", "address", "add", address, "dev", device)
            space.run("ip", "link", "set", device, "up")
