from __future__ import annotations

import os
import pwd

from netplayground.sandbox.identity import Identity, resolve_identity

UNKNOWN = 4_000_000


def test_nobody_asked_for_changes_nothing() -> None:
    assert resolve_identity(None, None) == Identity(None, None, None)


def test_a_group_alone_leaves_the_user() -> None:
    assert resolve_identity(None, 7) == Identity(None, 7, None)


def test_a_mere_number_brings_no_other_group() -> None:
    assert resolve_identity(UNKNOWN, None) == Identity(UNKNOWN, None, ())
    assert resolve_identity(UNKNOWN, 7) == Identity(UNKNOWN, 7, (7,))


def test_a_known_user_brings_his_groups() -> None:
    root = pwd.getpwuid(0)
    assert resolve_identity(0, None) == Identity(0, root.pw_gid, tuple(os.getgrouplist("root", root.pw_gid)))


def test_a_known_user_in_another_group() -> None:
    identity = resolve_identity(0, 7)
    assert identity.gid == 7
    assert identity.groups is not None
    assert 7 in identity.groups
