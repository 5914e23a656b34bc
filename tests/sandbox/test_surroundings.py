from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netplayground.sandbox.surroundings import root_is_overlay, survey


def test_root_of_a_container_is_an_overlay() -> None:
    assert root_is_overlay("600 500 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/a\n")


def test_an_overlay_elsewhere_is_no_container() -> None:
    assert not root_is_overlay(
        "25 1 254:0 / / rw - ext4 /dev/vda rw\n600 25 0:50 / /var/lib/docker/merged rw - overlay overlay rw\n"
    )


@given(st.text())
def test_any_text_is_an_answer(text: str) -> None:
    assert root_is_overlay(text) in (True, False)


def test_this_machine_can_be_looked_at() -> None:
    assert survey(privileged=False).privileged is False
