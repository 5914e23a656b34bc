"""Whether this machine has what plg needs: each need is tried for real, in a child that ends afterwards."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import NoReturn

from netplayground.errors import PlaygroundError
from netplayground.sandbox import kernel, powers, tun
from netplayground.sandbox.inheritance import read_status
from netplayground.sandbox.playground import Sandbox
from netplayground.sandbox.process import ProcessSpec
from netplayground.sandbox.proxy import enter_proxy_namespace
from netplayground.sandbox.refusals import Refusal, Step, Surroundings, attempting, explain
from netplayground.sandbox.surroundings import survey

# Both sockets of a connection; what a run needs besides them is small change.
_DESCRIPTORS_PER_CONNECTION = 2
_DESCRIPTORS_RESERVED = 200
_FEW_CONNECTIONS = 1000
_USUAL_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One need: whether it is met, what was found, and how to mend it if it is not."""

    need: str
    ok: bool
    text: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Try everything that a run needs; nothing of it stays."""
    around = survey(privileged=powers.is_privileged(int(read_status()["CapEff"], 16)))
    return [
        _in_child("TUN device", _try_tun, around),
        _in_child("user namespaces", _try_namespaces, around),
        apparmor_finding(around),
        _in_child("own /proc", _try_proc, around),
        _in_child("playground", _try_playground, around),
        descriptor_finding(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
    ]


def apparmor_finding(around: Surroundings) -> Finding:
    """Ubuntu's restriction lets an ordinary user make a user namespace, but nothing in it."""
    need = "AppArmor"
    if not around.apparmor_restricts:
        return Finding(need, True, "does not restrict user namespaces")
    if around.privileged:
        return Finding(need, True, "restricts user namespaces of ordinary users, but this is root")
    refusal = Refusal(Step.USER_NAMESPACE, 1)
    return _unmet(need, explain(refusal, replace(around, in_container=False, clone_forbidden=False)))


def descriptor_finding(hard_limit: int) -> Finding:
    """How many connections fit at a time under the hard limit on open files."""
    need = "descriptors"
    if hard_limit == resource.RLIM_INFINITY:
        return Finding(need, True, "no limit on open files")
    fitting = max(0, (hard_limit - _DESCRIPTORS_RESERVED) // _DESCRIPTORS_PER_CONNECTION)
    text = f"the hard limit of {hard_limit} open files leaves room for about {fitting} connections at a time"
    if fitting >= _FEW_CONNECTIONS:
        return Finding(need, True, text)
    return Finding(need, False, text, f"raise it: ulimit -Hn {_USUAL_LIMIT} (as root), or in limits.conf")


def _try_tun(around: Surroundings) -> str:
    del around
    with attempting(Step.TUN):
        os.close(os.open(tun.DEVICE, os.O_RDWR | os.O_CLOEXEC))
    return f"{tun.DEVICE} can be opened"


def _try_namespaces(around: Surroundings) -> str:
    del around
    with attempting(Step.USER_NAMESPACE):
        kernel.unshare(kernel.CLONE_NEWUSER)
    with attempting(Step.NAMESPACES):
        kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWPID)
    return "can be made, and network, mount, UTS and PID namespaces in them"


def _try_proc(around: Surroundings) -> str:
    del around
    with attempting(Step.NAMESPACES):
        pid = kernel.fork_into(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
    if pid == 0:
        _mount_proc_and_exit()
    if number := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise Refusal(Step.PROC, number)
    return "a process in a PID namespace of its own can mount it"


def _mount_proc_and_exit() -> NoReturn:
    number = 0
    try:
        kernel.mount("proc", "/proc", "proc", 0)
    except OSError as error:
        number = error.errno or 0
    finally:
        os._exit(number)


def _try_playground(around: Surroundings) -> str:
    spec = ProcessSpec("p1", 1, "true", IPv4Interface("10.0.0.1/24"), IPv6Interface("fd00:706c:67::1/64"))
    proxy = enter_proxy_namespace()
    sandbox = Sandbox([spec], proxy)
    sandbox.build()
    sandbox.close()
    families = "IPv4 and IPv6" if proxy.has_ipv6 else "IPv4 only"
    who = "root" if around.privileged else "an ordinary user"
    return f"a process with its own /proc, mounts, hostname and network ({families}) can be set up as {who}"


def _in_child(need: str, attempt: Callable[[Surroundings], str], around: Surroundings) -> Finding:
    """Run the attempt in a forked child, and take its finding from a pipe."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        _examine_in_child(need, attempt, around, writable)
    os.close(writable)
    with open(readable, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not data:
        return Finding(need, False, f"the attempt ended early ({_describe(status)})")
    return Finding(**json.loads(data))


def _examine_in_child(
    need: str, attempt: Callable[[Surroundings], str], around: Surroundings, report: int
) -> NoReturn:
    try:
        try:
            finding = Finding(need, True, attempt(around))
        except Refusal as refusal:
            finding = _unmet(need, explain(refusal, around))
        except PlaygroundError as error:
            finding = _unmet(need, str(error))
        except Exception as error:
            finding = Finding(need, False, f"unexpected: {error!r}")
        os.write(report, json.dumps(asdict(finding)).encode())
    finally:
        os._exit(0)


def _unmet(need: str, sentence: str) -> Finding:
    text, _, remedy = sentence.partition("; ")
    return Finding(need, False, text, remedy)


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.strsignal(os.WTERMSIG(status)) or f"signal {os.WTERMSIG(status)}"
    return f"status {os.WEXITSTATUS(status)}"
