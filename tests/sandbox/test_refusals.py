from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.errors import LimitError, SandboxError
from netplayground.sandbox.refusals import Refusal, Step, Surroundings, attempting, explain
from netplayground.sandbox.surroundings import refuse

HOST = Surroundings(tun_exists=True)
USER = Surroundings(privileged=False)


@given(
    st.sampled_from(Step),
    st.integers(0, 140),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20),
    st.builds(Surroundings, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 9), st.booleans()),
)
def test_every_refusal_is_one_sentence(step: Step, number: int, subject: str, around: Surroundings) -> None:
    sentence = explain(Refusal(step, number, subject), around)
    assert sentence.startswith(f"cannot {step.value}")
    assert "\n" not in sentence
    assert not sentence.endswith((".", " ", ";"))


@pytest.mark.parametrize(
    ("step", "number", "around", "remedy"),
    [
        (
            Step.NAMESPACES,
            errno.ENOSPC,
            Surroundings(max_user_namespaces=0),
            "sysctl user.max_user_namespaces",
        ),
        (Step.NAMESPACES, errno.ENOSPC, Surroundings(max_user_namespaces=9), "too many namespaces"),
        (Step.NAMESPACES, errno.EUSERS, HOST, "nested"),
        (Step.NAMESPACES, errno.ENOSYS, HOST, "Linux 5.12"),
        (Step.NAMESPACES, errno.EPERM, Surroundings(in_container=True), "--security-opt seccomp=unconfined"),
        (Step.USER_NAMESPACE, errno.EPERM, HOST, "chroot"),
        (Step.USER_NAMESPACE, errno.EPERM, USER, "or as root"),
        (
            Step.USER_NAMESPACE,
            errno.EPERM,
            Surroundings(privileged=False, clone_forbidden=True),
            "sysctl kernel.unprivileged_userns_clone=1",
        ),
        (
            Step.PROXY_NAMESPACE,
            errno.EPERM,
            Surroundings(privileged=False, apparmor_restricts=True),
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (Step.ID_MAPS, errno.EPERM, Surroundings(privileged=False, apparmor_restricts=True), "AppArmor"),
        (Step.TUN, errno.ENOENT, Surroundings(tun_exists=False), "mknod"),
        (Step.TUN, errno.ENOENT, Surroundings(tun_exists=False, in_container=True), "--device /dev/net/tun"),
        (Step.TUN, errno.EPERM, Surroundings(in_container=True), "--device /dev/net/tun"),
        (Step.TUN, errno.EACCES, USER, "chmod 666 /dev/net/tun"),
        (Step.TUN, errno.ENODEV, HOST, "modprobe tun"),
        (Step.PROC, errno.EPERM, HOST, "systempaths=unconfined"),
        (Step.SETTINGS, errno.EROFS, HOST, "systempaths=unconfined"),
        (Step.MOUNTS, errno.EINVAL, HOST, "chroot"),
        (Step.MOUNTS, errno.EACCES, Surroundings(in_container=True), "apparmor=unconfined"),
        (Step.MOUNTS, errno.EACCES, HOST, "security module"),
        (Step.READ_ONLY, errno.ENOSYS, HOST, "Linux 5.12"),
        (Step.LINKS, errno.EOPNOTSUPP, HOST, "CONFIG_IP_MULTIPLE_TABLES"),
        (Step.FORK, errno.EAGAIN, HOST, "ulimit -u"),
        (Step.DESCRIPTORS, errno.EMFILE, HOST, "ulimit -n"),
        (Step.TABLES, errno.ENFILE, HOST, "fs.file-max"),
        (Step.HOSTNAME, errno.EIO, HOST, ""),
    ],
)
def test_the_remedy_fits(step: Step, number: int, around: Surroundings, remedy: str) -> None:
    sentence, _, found = explain(Refusal(step, number), around).partition("; ")
    assert sentence == f"cannot {step.value}: {os.strerror(number)}"
    assert remedy in found
    assert bool(remedy) == bool(found)


def test_what_it_was_about_is_named_once() -> None:
    assert "(p1: /proc/sys/net/x)" in explain(Refusal(Step.SETTINGS, errno.EIO, "p1: /proc/sys/net/x"), HOST)
    assert explain(Refusal(Step.TUN, errno.EIO, "/dev/net/tun"), HOST).count("/dev/net/tun") == 1


def test_an_attempt_turns_the_kernels_no_into_a_refusal() -> None:
    with pytest.raises(Refusal) as caught, attempting(Step.TUN):
        os.open("/nowhere/at/all", os.O_RDONLY)
    assert caught.value.step is Step.TUN
    assert caught.value.number == errno.ENOENT
    assert caught.value.subject == "/nowhere/at/all"


def test_a_limit_is_told_from_a_refusal() -> None:
    assert type(refuse(Refusal(Step.DESCRIPTORS, errno.EMFILE), privileged=True)) is LimitError
    assert type(refuse(Refusal(Step.TUN, errno.ENOENT), privileged=True)) is SandboxError
