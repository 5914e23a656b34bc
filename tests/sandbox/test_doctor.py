from __future__ import annotations

import resource

import pytest

from netplayground.sandbox.doctor import apparmor_finding, descriptor_finding
from netplayground.sandbox.refusals import Surroundings


def test_apparmor_without_restriction_is_fine() -> None:
    assert apparmor_finding(Surroundings(privileged=False)).ok


def test_apparmors_restriction_does_not_touch_root() -> None:
    assert apparmor_finding(Surroundings(privileged=True, apparmor_restricts=True)).ok


def test_apparmors_restriction_can_be_lifted() -> None:
    finding = apparmor_finding(Surroundings(privileged=False, apparmor_restricts=True))
    assert not finding.ok
    assert "sysctl kernel.apparmor_restrict_unprivileged_userns=0" in finding.remedy


def test_without_a_limit_every_connection_fits() -> None:
    assert descriptor_finding(resource.RLIM_INFINITY).ok


@pytest.mark.parametrize(("limit", "ok"), [(20000, True), (2200, True), (1024, False), (10, False)])
def test_the_limit_says_how_many_connections_fit(limit: int, ok: bool) -> None:
    finding = descriptor_finding(limit)
    assert finding.ok == ok
    assert str(limit) in finding.text
    assert bool(finding.remedy) != ok
