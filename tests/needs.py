"""What a test needs of this machine: it skips with the reason, or fails where PLG_MUST_WORK=1."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

TUN_DEVICE = "/dev/net/tun"


def cannot_run(reason: str) -> NoReturn:
    """End the test that asks: as a skip, or as a failure where nothing may be missing."""
    __tracebackhide__ = True
    if os.environ.get("PLG_MUST_WORK") == "1":
        pytest.fail(f"PLG_MUST_WORK=1, but this test cannot run: {reason}", pytrace=False)
    pytest.skip(reason)


def needs_root() -> None:
    """The test changes users, writes as root or starts programs that insist on root."""
    __tracebackhide__ = True
    if os.geteuid() != 0:
        cannot_run("needs root")


def needs_tun() -> None:
    """The test opens a TUN device."""
    __tracebackhide__ = True
    try:
        os.close(os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        cannot_run(f"needs {TUN_DEVICE}: {error.strerror}")


def needs_program(*names: str) -> tuple[str, ...]:
    """The paths of real programs that the test runs, in the order asked for."""
    __tracebackhide__ = True
    found = [shutil.which(name, path=_search_path()) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        cannot_run(f"needs {', '.join(missing)}")
    return tuple(path for path in found if path is not None)


def _search_path() -> str:
    """PATH and where Debian keeps servers: an ordinary user's PATH has no sbin, nobody's has PostgreSQL's."""
    postgres = sorted((str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return os.pathsep.join(
        [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", *postgres]
    )
