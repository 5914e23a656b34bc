"""An ordinary user, made of root: uid and gid nobody's, no capability, and a TUN device of a chosen mode.

He runs in a mount namespace of his own, so that nothing of the machine is changed. In it the TUN device is
another node of the same device. Where an interpreter or a checkout lies in a folder that is closed to
him (/root), an empty folder stands in for that one, with only what is needed in it.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from journey.runs import PACKAGE_PARENT, Place

from needs import cannot_run, needs_program

NOBODY = 65534
BECOME = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]


def as_nobody(place: Place, *, mode: str = "666") -> list[str]:
    """Words before a command that run it as an ordinary user, to whom the TUN device has the given mode.

    One who is not root is an ordinary user as he is.
    """
    if os.geteuid() != 0:
        return []
    needs_program("unshare", "setpriv")
    private = place.path / "private"
    private.mkdir(exist_ok=True)
    needed = {Path(sys.base_prefix), Path(sys.prefix), PACKAGE_PARENT, place.path}
    steps = [
        *_device(private, mode),
        *_opened(private, sorted(path.resolve() for path in needed)),
        'exec "$@"',
    ]
    words = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        "\n".join(steps),
        "nobody",
        *BECOME,
    ]
    # By a shell: setpriv itself still has root's powers when it looks up what to run.
    probe = ["sh", "-c", 'exec "$0" -c "import netplayground.cli, pyroute2, pytun, click"', sys.executable]
    tried = subprocess.run(
        [*words, *probe], env=place.environment(), cwd=place.path, capture_output=True, text=True
    )
    if tried.returncode != 0:
        cannot_run(f"an ordinary user cannot run {sys.executable} here: {tried.stderr.strip()}")
    return words


def _device(private: Path, mode: str) -> list[str]:
    node = shlex.quote(f"{private}/tun")
    return [
        f"mount -t tmpfs tmpfs {shlex.quote(str(private))}",
        f"mknod {node} c 10 200",
        f"chmod {mode} {node}",
        f"mount --bind {node} /dev/net/tun",
    ]


def _opened(private: Path, paths: Sequence[Path]) -> list[str]:
    """Steps that put an empty folder over each closed one, and back into it what is needed of it."""
    hidden = [(path, closed) for path in paths if (closed := _closed_ancestor(path)) is not None]
    aside = {path: shlex.quote(f"{private}/{number}") for number, (path, _) in enumerate(hidden)}
    before = [
        f"mkdir {aside[path]}; mount --bind {shlex.quote(str(path))} {aside[path]}" for path, _ in hidden
    ]
    over = [f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(closed))}" for closed in _distinct(hidden)]
    back = [
        f"mkdir -p {shlex.quote(str(path))}; mount --bind {aside[path]} {shlex.quote(str(path))}"
        for path, _ in hidden
    ]
    return before + over + back


def _distinct(hidden: Iterable[tuple[Path, Path]]) -> list[Path]:
    return sorted({closed for _, closed in hidden})


def _closed_ancestor(path: Path) -> Path | None:
    """The topmost folder on the way that an ordinary user may not pass."""
    ways = [folder for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH]
    return ways[0] if ways else None
