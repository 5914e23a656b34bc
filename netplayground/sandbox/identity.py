"""Whom the commands run as, when plg is told to run them as somebody else."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Ids for the command; None leaves what plg has."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None

    def assume(self) -> None:
        """Become this user for good; groups first, while the power to change them is there."""
        if self.groups is not None:
            os.setgroups(self.groups)
        if self.gid is not None:
            os.setresgid(self.gid, self.gid, self.gid)
        if self.uid is not None:
            os.setresuid(self.uid, self.uid, self.uid)


def resolve_identity(uid: int | None, gid: int | None) -> Identity:
    """What to assume for these ids.

    A user whom this machine knows brings his supplementary groups; a mere number brings none.
    """
    if uid is None:
        return Identity(gid=gid)
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(uid, gid, () if gid is None else (gid,))
    gid = entry.pw_gid if gid is None else gid
    return Identity(uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)))
