"""What the kernel refused, said in one sentence with the way to mend it (pure: facts in, text out)."""

from __future__ import annotations

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
    subject = f" ({refusal.subject})" if refusal.subject else ""
    cause = os.strerror(refusal.number) if refusal.number else "unexpected error"
    remedy = _remedy(refusal, surroundings)
    return f"cannot {refusal.step.value}{subject}: {cause}{'; ' if remedy else ''}{remedy}"


def _remedy(refusal: Refusal, surroundings: Surroundings) -> str:
    return ""
