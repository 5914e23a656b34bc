"""Whom the commands run as, when plg is told to run them as somebody else."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from netplayground.errors import UsageError


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


def resolve_identity(user: str | int | None, group: str | int | None) -> Identity:
    """The ids behind names or numbers.

    A user known to this machine brings its own group and supplementary groups; a mere number brings none.
    """
    gid = None if group is None else _group_id(group)
    if user is None:
        return Identity(gid=gid)
    entry = _user_entry(user)
    if entry is None:
        return Identity(int(user), gid, () if gid is None else (gid,))
    gid = entry.pw_gid if gid is None else gid
    return Identity(entry.pw_uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)))


def _user_entry(user: str | int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(user)) if _is_number(user) else pwd.getpwnam(str(user))
    except KeyError:
        if _is_number(user):
            return None
        raise UsageError(f"cannot run commands as user {user}: there is no such user") from None


def _group_id(group: str | int) -> int:
    if _is_number(group):
        return int(group)
    try:
        return grp.getgrnam(str(group)).gr_gid
    except KeyError:
        raise UsageError(f"cannot run commands as group {group}: there is no such group") from None


def _is_number(name: str | int) -> bool:
    return isinstance(name, int) or (name.isascii() and name.isdigit())
