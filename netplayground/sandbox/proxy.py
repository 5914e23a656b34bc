"""The proxy namespace: plg itself moves into it and takes connections apart there.

Root only leaves its network. An ordinary user first makes a user namespace in which he is himself and has
power over the new network and over the namespaces of the processes, which nest in it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from netplayground.errors import SandboxError
from netplayground.sandbox import kernel, network, powers, tables, tun, tuning
from netplayground.sandbox.inheritance import read_status
from netplayground.sandbox.refusals import Refusal, Step, attempting
from netplayground.sandbox.surroundings import refuse


@dataclass(frozen=True, slots=True)
class ProxyNamespace:
    """The namespace that plg has entered; it stays until plg ends.

    `settings` are what a fresh namespace lacks: the host's values and what a playground needs.
    """

    tun_fd: int
    tun_index: int
    privileged: bool
    has_ipv6: bool
    settings: Mapping[str, str]

    def tx_dropped(self) -> int:
        """How many packets for the processes found no room in the device's queue."""
        return tables.parse_tx_dropped(Path("/proc/self/net/dev").read_text(encoding="ascii"), tun.NAME)

    def close(self) -> None:
        os.close(self.tun_fd)


def enter_proxy_namespace(mtu: int = 1500, queue: int = 10_000) -> ProxyNamespace:
    """Move this process into a fresh network namespace with a TUN device; it must have one thread only.

    There is no way back. SandboxError says what is missing and how to mend it.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        raise SandboxError("cannot make the proxy namespace: this process has more than one thread")
    _occupy_standard_descriptors()
    tun.load()
    network.load()
    privileged = powers.is_privileged(int(read_status()["CapEff"], 16))
    has_ipv6 = tuning.has_ipv6()
    settings = tuning.read_host_settings(privileged=privileged)
    try:
        _unshare(privileged)
        with attempting(Step.SETTINGS):
            settings = tuning.missing(settings)
            tuning.apply(settings)
        descriptor = _set_up(mtu, queue, has_ipv6)
        index = socket.if_nametoindex(tun.NAME)
        return ProxyNamespace(descriptor, index, privileged, has_ipv6, settings)
    except Refusal as refusal:
        raise refuse(refusal, privileged=privileged) from refusal


def _occupy_standard_descriptors() -> None:
    """Where plg was started without one, what is opened next must not become somebody's stdout."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _unshare(privileged: bool) -> None:
    if privileged:
        with attempting(Step.PROXY_NAMESPACE):
            kernel.unshare(kernel.CLONE_NEWNET)
        return
    uid, gid = os.geteuid(), os.getegid()
    with attempting(Step.USER_NAMESPACE):
        kernel.unshare(kernel.CLONE_NEWUSER)
    with attempting(Step.ID_MAPS):
        # Who may not change groups outside may not drop them inside either: the kernel wants that said first.
        write_once("/proc/self/setgroups", "deny")
        write_once("/proc/self/uid_map", f"{uid} {uid} 1\n")
        write_once("/proc/self/gid_map", f"{gid} {gid} 1\n")
    with attempting(Step.PROXY_NAMESPACE):
        kernel.unshare(kernel.CLONE_NEWNET)


def _set_up(mtu: int, queue: int, has_ipv6: bool) -> int:
    with attempting(Step.TUN):
        descriptor = tun.open_tun()
    families = [socket.AF_INET, socket.AF_INET6] if has_ipv6 else [socket.AF_INET]
    try:
        with attempting(Step.LINKS):
            index = socket.if_nametoindex(tun.NAME)
            network.apply(network.proxy_requests(index, mtu, queue, families))
    except Refusal:
        os.close(descriptor)
        raise
    return descriptor


def write_once(path: str, text: str) -> None:
    """Write a kernel file: all in one call, and an error carries its name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
