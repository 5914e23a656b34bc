"""What the kernel refused, said in one sentence with the way to mend it (pure: facts in, text out)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum


class Step(Enum):
    """A step of the set-up; the value completes the words "cannot …"."""

    PROXY_NAMESPACE = "make the proxy namespace"
    USER_NAMESPACE = "make a user namespace"
    ID_MAPS = "map user and group ids"
    NAMESPACES = "make namespaces"
    FORK = "start a process"
    MOUNTS = "arrange mounts"
    PROC = "mount a /proc of its own"
    READ_ONLY = "make kernel settings read-only"
    HOSTNAME = "set the hostname"
    SETTINGS = "set network settings"
    TUN = "open /dev/net/tun"
    LINKS = "set up the network"
    TABLES = "open the network's tables"
    POWER = "give up power"
    DESCRIPTORS = "hold the descriptors"
    UNKNOWN = "set up a process"


class Refusal(Exception):
    """A step that failed, with the kernel's errno (0: none) and what it was about."""

    def __init__(self, step: Step, number: int, subject: str = "") -> None:
        super().__init__(step, number, subject)
        self.step = step
        self.number = number
        self.subject = subject


@contextmanager
def attempting(step: Step) -> Iterator[None]:
    """Turn an OSError inside into a Refusal of this step."""
    try:
        yield
    except OSError as error:
        raise Refusal(step, error.errno or 0, str(error.filename or "")) from error


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Facts of the machine on which a remedy depends."""

    privileged: bool = True
    apparmor_restricts: bool = False
    clone_forbidden: bool = False
    max_user_namespaces: int | None = None
    tun_exists: bool = True
    in_container: bool = False


def explain(refusal: Refusal, surroundings: Surroundings) -> str:
    """The sentence for the user: what, why, and how to mend it."""
    is_news = refusal.subject and refusal.subject not in refusal.step.value
    subject = f" ({refusal.subject})" if is_news else ""
    cause = os.strerror(refusal.number) if refusal.number else "unexpected error"
    remedy = _remedy(refusal, surroundings)
    return f"cannot {refusal.step.value}{subject}: {cause}{'; ' if remedy else ''}{remedy}"


def is_limit(refusal: Refusal) -> bool:
    """Whether a limit was reached, and nothing is missing or forbidden."""
    return refusal.number in _LIMITS


_CONTAINER = (
    "give the container --privileged, or --device /dev/net/tun --cap-add SYS_ADMIN --cap-add NET_ADMIN "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined"
)
_OLD_KERNEL = "plg needs Linux 5.12 or newer with user, network, mount, UTS and PID namespaces"
_HIDDEN_PROC = (
    "parts of /proc are covered here, as container engines do; give the container "
    "--security-opt systempaths=unconfined (Podman: --security-opt unmask=ALL)"
)
_LIMITS = {
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "raise the machine's limit on open files (sysctl fs.file-max)",
    errno.EAGAIN: "raise the limit on processes (ulimit -u, or the container's)",
    errno.ENOMEM: "free some memory, or run fewer processes",
}
_FORBIDDEN = (errno.EPERM, errno.EACCES)
_MISSING = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def _remedy(refusal: Refusal, around: Surroundings) -> str:
    if refusal.number in _LIMITS:
        return _LIMITS[refusal.number]
    match refusal.step:
        case Step.PROXY_NAMESPACE | Step.USER_NAMESPACE | Step.NAMESPACES | Step.ID_MAPS:
            return _namespace_remedy(refusal.number, around)
        case Step.TUN:
            return _tun_remedy(refusal.number, around)
        case Step.PROC if refusal.number in _FORBIDDEN:
            return _HIDDEN_PROC
        case Step.SETTINGS if refusal.number in (errno.EROFS, *_FORBIDDEN):
            return _HIDDEN_PROC
        case Step.MOUNTS if refusal.number == errno.EINVAL:
            return "plg cannot run inside a chroot, where / is not a mount"
        case Step.MOUNTS if refusal.number in _FORBIDDEN:
            return _CONTAINER if around.in_container else "a security module forbids it; see the kernel's log"
        case Step.LINKS if refusal.number in _MISSING:
            return "the kernel needs policy routing (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES)"
        case _ if refusal.number in _MISSING:
            return _OLD_KERNEL
    return ""


def _namespace_remedy(number: int, around: Surroundings) -> str:
    if number == errno.ENOSPC and around.max_user_namespaces == 0:
        return "user namespaces are switched off; as root: sysctl user.max_user_namespaces=15000"
    if number in (errno.ENOSPC, errno.EUSERS):
        return "too many namespaces are in use or nested; as root raise /proc/sys/user/max_*_namespaces"
    # What a container engine's filter does not know, clone3 among it, it answers as an old kernel would.
    if around.in_container and number in (errno.ENOSYS, *_FORBIDDEN):
        return _CONTAINER
    if number in _MISSING:
        return _OLD_KERNEL
    if around.clone_forbidden and not around.privileged:
        return "run plg as root, or as root: sysctl kernel.unprivileged_userns_clone=1"
    if around.apparmor_restricts and not around.privileged:
        return (
            "AppArmor keeps user namespaces from ordinary users; "
            "run plg as root, or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if around.privileged:
        return "a chroot, a security module or a system call filter forbids it; run plg outside"
    return "a chroot, a security module or a system call filter forbids it; run plg outside, or as root"


def _tun_remedy(number: int, around: Surroundings) -> str:
    if around.in_container and (not around.tun_exists or number == errno.EPERM):
        return "give the container --device /dev/net/tun"
    if not around.tun_exists:
        return "as root: modprobe tun; mkdir -p /dev/net; mknod -m 666 /dev/net/tun c 10 200"
    if number in (errno.ENODEV, errno.ENXIO):
        return "as root: modprobe tun"
    if number in _FORBIDDEN:
        return "as root: chmod 666 /dev/net/tun"
    return ""
