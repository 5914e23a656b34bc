"""Which capabilities a command may ever have in its own user namespace, and how the rest is given up.

The bounding set is what counts: a command that is root (or executes a setuid-root or file-capability program)
gets what is in it and no more. A user namespace that the command makes for itself has every capability again,
but only over what is created there: its parent's network, mounts and /proc stay owned by a namespace above
it.
"""

from __future__ import annotations

import os

from netplayground.sandbox import kernel

_NUMBERS = {
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "fsetid": 4,
    "kill": 5,
    "setgid": 6,
    "setuid": 7,
    "setpcap": 8,
    "net_bind_service": 10,
    "net_raw": 13,
    "sys_chroot": 18,
    "setfcap": 31,
}
COMMAND_POWERS = frozenset(_NUMBERS.values())

CAP_SETGID = 6
CAP_SETUID = 7
CAP_NET_ADMIN = 12
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21

# What plg must have to keep its own user namespace: to make network namespaces and to map other ids than its
# own.
_PRIVILEGED = (CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN, CAP_SYS_ADMIN)


def mask(capabilities: frozenset[int]) -> int:
    return sum(1 << number for number in capabilities)


def is_privileged(effective: int) -> bool:
    """Whether these effective capabilities allow plg to work as root does."""
    return all(effective >> number & 1 for number in _PRIVILEGED)


def last_capability() -> int:
    """The highest capability that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def limit_power(last: int) -> None:
    """Give up for good what no command may have; `last` is the highest capability that the kernel knows.

    The caller keeps more than any command can get: who lacks a capability of a process may not trace it, so
    that no command can take over its PID 1, which needs power over its network for its last act.
    """
    kernel.clear_ambient_set()
    for number in range(last + 1):
        if number not in COMMAND_POWERS:
            kernel.drop_from_bounding_set(number)
    kernel.set_capabilities(mask(COMMAND_POWERS | {CAP_SYS_PTRACE, CAP_NET_ADMIN}))


def keep_those_of_a_command(last: int) -> None:
    """Give up, after entering a process's user namespace, what no command has there: as `limit_power` does,
    and then as an exec would."""
    kernel.clear_ambient_set()
    for number in range(last + 1):
        if number not in COMMAND_POWERS:
            kernel.drop_from_bounding_set(number)
    kernel.set_capabilities(mask(COMMAND_POWERS) if os.geteuid() == 0 else 0)
