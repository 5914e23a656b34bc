"""Facts of this machine that decide how a refusal can be mended."""

from __future__ import annotations

import os
from pathlib import Path

from netplayground.errors import LimitError, PlaygroundError, SandboxError
from netplayground.sandbox import tun
from netplayground.sandbox.refusals import Refusal, Surroundings, explain, is_limit


def survey(*, privileged: bool) -> Surroundings:
    """Look around; what cannot be read counts as not set."""
    return Surroundings(
        privileged=privileged,
        apparmor_restricts=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1,
        clone_forbidden=_number("/proc/sys/kernel/unprivileged_userns_clone") == 0,
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        tun_exists=os.path.exists(tun.DEVICE),
        in_container=os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"),
    )


def refuse(refusal: Refusal, *, privileged: bool) -> PlaygroundError:
    """The error that tells the user of a refusal."""
    kind = LimitError if is_limit(refusal) else SandboxError
    return kind(explain(refusal, survey(privileged=privileged)))


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
