"""Facts of this machine that decide how a refusal can be mended."""

from __future__ import annotations

import os
from pathlib import Path

from netplayground.errors import LimitError, PlaygroundError, SandboxError
from netplayground.sandbox import tun
from netplayground.sandbox.refusals import Refusal, Surroundings, explain, is_limit

_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


def survey(*, privileged: bool) -> Surroundings:
    """Look around; what cannot be read counts as not set."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return Surroundings(
        privileged=privileged,
        apparmor_restricts=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1,
        clone_forbidden=_number("/proc/sys/kernel/unprivileged_userns_clone") == 0,
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        tun_exists=os.path.exists(tun.DEVICE),
        in_container=any(map(os.path.exists, _CONTAINER_MARKS)) or root_is_overlay(mounts),
    )


def refuse(refusal: Refusal, *, privileged: bool) -> PlaygroundError:
    """The error that tells the user of a refusal."""
    kind = LimitError if is_limit(refusal) else SandboxError
    return kind(explain(refusal, survey(privileged=privileged)))


def root_is_overlay(mountinfo: str) -> bool:
    """Whether / is an overlay, as container engines stack it."""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[4:5] == ["/"] and rest.split()[:1] == ["overlay"]:
            return True
    return False


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
