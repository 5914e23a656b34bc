"""A TUN device with virtio header, checksum and segmentation offload in the caller's network namespace."""

from __future__ import annotations

import fcntl
import os
from typing import Final

DEVICE: Final = "/dev/net/tun"
NAME: Final = "tun0"

_TUNSETOFFLOAD = 0x400454D0
_TUN_F_CSUM = 1
_TUN_F_TSO4 = 2
_TUN_F_TSO6 = 4


def load() -> None:
    """Load python-pytun: before a fork, so that no child has to."""
    import pytun  # noqa: F401


def open_tun() -> int:
    """Make the device `tun0` and return its descriptor: non-blocking, close-on-exec.

    The device is persistent in a namespace that is not: closing the descriptor of any other device waits for
    it to be unregistered, one after another, while the kernel's worker that ends namespaces does it for many
    at once.
    """
    import pytun

    device = pytun.TunTapDevice(NAME, pytun.IFF_TUN | pytun.IFF_NO_PI | pytun.IFF_VNET_HDR)
    try:
        fcntl.ioctl(device.fileno(), _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6)
        device.persist(True)
        descriptor = fcntl.fcntl(device.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        device.close()
    os.set_blocking(descriptor, False)
    return descriptor
