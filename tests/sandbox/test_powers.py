from __future__ import annotations

from netplayground.sandbox import powers
from netplayground.sandbox.powers import CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE, COMMAND_POWERS


def test_no_command_gets_power_over_network_mounts_or_other_processes() -> None:
    assert not COMMAND_POWERS & {CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE}


def test_mask_of_the_promised_powers() -> None:
    assert powers.mask(COMMAND_POWERS) == 0x800425FB


def test_root_is_privileged_and_a_container_without_sys_admin_is_not() -> None:
    everything = 2**41 - 1
    assert powers.is_privileged(everything)
    assert not powers.is_privileged(everything & ~(1 << CAP_SYS_ADMIN))
    assert not powers.is_privileged(0)


def test_this_kernel_knows_the_capabilities_in_question() -> None:
    assert powers.last_capability() >= max(COMMAND_POWERS)
