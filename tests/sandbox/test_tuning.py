from __future__ import annotations

from pathlib import Path

import pytest

from netplayground.sandbox import tuning


def test_the_hosts_own_values_are_taken_over() -> None:
    settings = tuning.read_host_settings(privileged=False)
    assert settings["core/somaxconn"] == Path("/proc/sys/net/core/somaxconn").read_text().strip()
    assert settings["ipv4/tcp_tw_reuse"] == "1"
    assert "ipv4/ip_unprivileged_port_start" not in settings


def test_what_is_there_already_is_not_missing() -> None:
    own = Path("/proc/sys/net/core/somaxconn").read_text().strip()
    assert tuning.missing({"core/somaxconn": own}) == {}
    assert tuning.missing({"core/somaxconn": "1"}) == {"core/somaxconn": "1"}


def test_white_space_does_not_matter() -> None:
    ports = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert tuning.missing({"ipv4/ip_local_port_range": " ".join(ports)}) == {}


def test_ordinary_user_pings_with_his_only_group() -> None:
    settings = tuning.unprivileged_settings(1000)
    assert settings["ipv4/ping_group_range"] == "1000 1000"
    assert settings["ipv4/ip_unprivileged_port_start"] == "0"


@pytest.mark.parametrize(("highest", "text"), [(2**32 - 2, "0 2147483647"), (65535, "0 65535"), (0, "0 0")])
def test_every_mapped_group_of_a_privileged_run_pings(highest: int, text: str) -> None:
    assert tuning.privileged_settings(highest)["ipv4/ping_group_range"] == text
