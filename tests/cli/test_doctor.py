"""What the doctor's findings look like, and their status."""

from __future__ import annotations

import pytest

from netplayground.cli.doctor import report
from netplayground.cli.main import main
from netplayground.sandbox import doctor
from netplayground.sandbox.doctor import Finding

FINE = Finding("TUN device", True, "/dev/net/tun can be opened")
MISSING = Finding("user namespaces", False, "are switched off", "sysctl kernel.unprivileged_userns_clone=1")


def test_each_need_has_a_line_and_what_is_missing_its_remedy() -> None:
    assert list(report([FINE, MISSING])) == [
        "fine     TUN device       /dev/net/tun can be opened",
        "MISSING  user namespaces  are switched off",
        "         to mend: sysctl kernel.unprivileged_userns_clone=1",
    ]


@pytest.mark.parametrize(("findings", "status"), [([FINE], 0), ([FINE, MISSING], 125)])
def test_the_status_says_whether_all_is_there(
    findings: list[Finding], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main(["doctor"]) == status
    assert capsys.readouterr().out.startswith("fine")
