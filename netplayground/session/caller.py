"""Who started plg, and how names of users and groups become numbers, as this machine has it."""

from __future__ import annotations

import grp
import os
import pwd

from netplayground.session.plan import Caller, User


def caller() -> Caller:
    """The caller of this process."""
    return Caller(os.geteuid(), os.getegid(), _find_user, _find_group)


def _find_user(name: str | int) -> User:
    entry = pwd.getpwuid(name) if isinstance(name, int) else pwd.getpwnam(name)
    return User(entry.pw_uid, entry.pw_gid)


def _find_group(name: str) -> int:
    return grp.getgrnam(name).gr_gid
