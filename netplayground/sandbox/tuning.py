"""Settings of a network namespace: the host's values that a new one lacks, and what a playground needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = "/proc/sys/net"

# A new namespace has the kernel's defaults for these, not what this host was tuned to.
_COPIED = (
    "core/somaxconn",
    "ipv4/tcp_rmem",
    "ipv4/tcp_wmem",
    "ipv4/ip_local_port_range",
    "ipv4/tcp_max_syn_backlog",
)
_COPIED_WITH_PRIVILEGE = ("ipv4/ip_unprivileged_port_start",)

_EVERYWHERE = {
    # Without it, a client that closes 28,232 connections one after another has no port left for a minute.
    "ipv4/tcp_tw_reuse": "1",
    # A new namespace inherits these from the host, where a container engine or a distribution may have set
    # them.
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
}
# Before the TUN is made, which takes them over: nothing on a TUN answers solicitations.
_EVERYWHERE_WITH_IPV6 = {
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/router_solicitations": "0",
    "ipv6/conf/default/dad_transmits": "0",
}


def has_ipv6() -> bool:
    return os.path.exists("/proc/net/if_inet6")


def read_host_settings(*, privileged: bool) -> dict[str, str]:
    """The settings that every namespace of the run gets; what this kernel does not have is left out."""
    settings = {}
    for name in _COPIED + (_COPIED_WITH_PRIVILEGE if privileged else ()):
        path = Path(ROOT, name)
        if path.exists():
            settings[name] = path.read_text(encoding="ascii").strip()
    return settings | _EVERYWHERE | (_EVERYWHERE_WITH_IPV6 if has_ipv6() else {})


def unprivileged_settings(gid: int) -> dict[str, str]:
    """What lets an ordinary user bind low ports and ping: `gid` is the only group that his namespace maps."""
    return {"ipv4/ip_unprivileged_port_start": "0", "ipv4/ping_group_range": f"{gid} {gid}"}


def privileged_settings(highest_gid: int) -> dict[str, str]:
    """What lets every user of a privileged run ping; `highest_gid` is the last one mapped from 0 on."""
    return {"ipv4/ping_group_range": f"0 {min(highest_gid, 2**31 - 1)}"}


def missing(settings: Mapping[str, str]) -> dict[str, str]:
    """Those of the settings that the caller's network namespace does not have yet.

    Fresh namespaces are all alike, so that what one of them has need not be written into the next hundred:
    some of these files take the kernel's one lock for all network devices.
    """
    return {name: value for name, value in settings.items() if _read(name) != value.split()}


def _read(name: str) -> list[str]:
    return Path(ROOT, name).read_text(encoding="ascii").split()


def apply(settings: Mapping[str, str]) -> None:
    """Write the settings of the caller's network namespace; OSError carries the file's name."""
    for name, value in settings.items():
        path = f"{ROOT}/{name}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        finally:
            os.close(descriptor)
