"""The processes of a run: built together, ended together.

build() forks every child first and then serves whichever speaks, so that a hundred processes take as long as
the machine needs for the work, not for the waiting.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Interface, ip_interface
from pathlib import Path

from netplayground.errors import SandboxError
from netplayground.sandbox import birth, files, network, powers, tuning
from netplayground.sandbox.command import CommandPlan, Streams
from netplayground.sandbox.fork import held_signals
from netplayground.sandbox.identity import Identity
from netplayground.sandbox.inheritance import Inheritance, handled_signals
from netplayground.sandbox.pid1 import Ending
from netplayground.sandbox.process import IdMaps, ProcessSpec, SandboxedProcess
from netplayground.sandbox.proxy import ProxyNamespace
from netplayground.sandbox.refusals import Refusal, Step, attempting
from netplayground.sandbox.surroundings import refuse
from netplayground.sandbox.terminal import Terminal

_BUILD_TIMEOUT_S = 60.0


class Sandbox:
    """All processes of a run, in namespaces under the proxy's; close() leaves nothing of them."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        proxy: ProxyNamespace,
        *,
        mtu: int = 1500,
        queue: int = 10_000,
        kill_signal: int = signal.SIGTERM,
        grace_s: float = 5.0,
        identity: Identity | None = None,
        keep_hostname: bool = False,
        inheritance: Inheritance | None = None,
        absent: Sequence[ProcessSpec] = (),
        streams: Mapping[str, Streams] | None = None,
    ) -> None:
        """`streams`: by name, who does not have plg's own stdout and stderr."""
        self.processes: list[SandboxedProcess] = []
        self._specs = specs
        self._everyone = sorted((*specs, *absent), key=lambda spec: spec.position)
        self._proxy = proxy
        self._mtu = mtu
        self._queue = queue
        self._ending = Ending(kill_signal, grace_s)
        self._identity = identity or Identity()
        self._keep_hostname = keep_hostname
        self._inheritance = inheritance or Inheritance.of_this_process()
        self._streams = streams or {}
        self._terminal = Terminal() if len(specs) == 1 and not self._streams else None

    def build(self) -> None:
        """Make every process's namespaces; return when all stand, or raise SandboxError with nothing left."""
        try:
            self._check_identity()
            self._fork_all()
            self._serve_births()
            if self._terminal:
                self._terminal.lend()
        except Refusal as refusal:
            self.close()
            raise refuse(refusal, privileged=self._proxy.privileged) from refusal
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill whatever is left, wait for its end, close every descriptor; a second time it does nothing."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.close()
        if self._terminal:
            self._terminal.take_back()

    def _check_identity(self) -> None:
        own = (os.geteuid(), os.getegid())
        wanted = (self._identity.uid, self._identity.gid)
        if not self._proxy.privileged and any(
            want not in (None, have) for want, have in zip(wanted, own, strict=True)
        ):
            raise SandboxError("cannot run commands as another user or group: only root may; run plg as root")

    def _fork_all(self) -> None:
        common = self._common_plan()
        maps = IdMaps(_identity_map("uid_map"), _identity_map("gid_map"))
        for spec in self._specs:
            with attempting(Step.DESCRIPTORS):
                here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            # No handler of plg's runs in a child before the child has put it away.
            with there, held_signals():
                child = birth.fork_child(self._birth_plan(spec, common), there)
            self.processes.append(SandboxedProcess(spec, here, child, common.tables))
            self.processes[-1].let_be_born(maps)

    def _common_plan(self) -> birth.CommonPlan:
        own = (
            tuning.privileged_settings(_highest_id("gid_map"))
            if self._proxy.privileged
            else tuning.unprivileged_settings(os.getegid())
        )
        names = ((spec.name, [str(a.ip) for a in _interfaces(spec)]) for spec in self._everyone)
        return birth.CommonPlan(
            mtu=self._mtu,
            queue=self._queue,
            tun_index=self._proxy.tun_index,
            settings={**self._proxy.settings, **own},
            view=files.FileView.of_this_machine(files.emit_hosts(names)),
            tables=tuple(path for path in birth.TABLES if os.path.exists(path)),
            environment={**os.environ, **peers_environment(self._everyone)},
            handled_signals=handled_signals(),
            last_capability=powers.last_capability(),
            ending=self._ending,
        )

    def _birth_plan(self, spec: ProcessSpec, common: birth.CommonPlan) -> birth.BirthPlan:
        addresses = [address for address in _interfaces(spec) if address.version == 4 or self._proxy.has_ipv6]
        if self._proxy.has_ipv6:
            addresses.append(IPv6Interface((f"fe80::{spec.position:x}", 64)))
        return birth.BirthPlan(
            common=common,
            hostname=None if self._keep_hostname else spec.name,
            addresses=tuple(addresses),
            requests=network.process_requests(common.tun_index, common.mtu, common.queue, addresses),
            command=CommandPlan(
                command=spec.command,
                environment={**common.environment, **own_environment(spec)},
                identity=self._identity,
                inheritance=self._inheritance,
                inherits_stdin=len(self._specs) == 1 and (self._terminal is not None or not os.isatty(0)),
                takes_terminal=bool(self._terminal and self._terminal.is_ours),
                streams=self._streams.get(spec.name),
            ),
        )

    def _serve_births(self) -> None:
        deadline = time.monotonic() + _BUILD_TIMEOUT_S
        with selectors.DefaultSelector() as selector:
            for process in self.processes:
                selector.register(process.control, selectors.EVENT_READ, process)
            while selector.get_map():
                ready = selector.select(deadline - time.monotonic())
                if not ready:
                    raise SandboxError(f"cannot set up the processes: not done in {_BUILD_TIMEOUT_S:.0f} s")
                for key, _ in ready:
                    key.data.await_birth()
                    selector.unregister(key.fd)


def peers_environment(specs: Sequence[ProcessSpec]) -> dict[str, str]:
    """Where each process is, as every process of the run is told."""
    environment = {}
    for spec in specs:
        suffix = spec.name.upper().replace("-", "_")
        environment[f"PLG_ADDR_{suffix}"] = _bare(spec.address4)
        if spec.address6 is not None:
            environment[f"PLG_ADDR6_{suffix}"] = _bare(spec.address6)
    return environment


def own_environment(spec: ProcessSpec) -> dict[str, str]:
    """Who and where a process itself is."""
    environment = {"PLG_NAME": spec.name, "PLG_ADDR": _bare(spec.address4)}
    if spec.address6 is not None:
        environment["PLG_ADDR6"] = _bare(spec.address6)
    return environment


def _bare(address: IPv4Address | IPv6Address) -> str:
    return str(ip_interface(address).ip)


def _interfaces(spec: ProcessSpec) -> list[network.Interface]:
    return [ip_interface(address) for address in (spec.address4, spec.address6) if address is not None]


def identity_map(own: str) -> str:
    """A map that leaves each id as it is, over the ranges that plg's own map (the text given) has."""
    ranges = (line.split() for line in own.splitlines())
    return "".join(f"{inside} {inside} {count}\n" for inside, _, count in ranges)


def _identity_map(name: str) -> str:
    return identity_map(Path("/proc/self", name).read_text(encoding="ascii"))


def _highest_id(name: str) -> int:
    """The last id of the range that begins with 0 in plg's own map; 0 without such a range."""
    for line in Path("/proc/self", name).read_text(encoding="ascii").splitlines():
        inside, _, count = map(int, line.split())
        if inside == 0:
            return count - 1
    return 0
