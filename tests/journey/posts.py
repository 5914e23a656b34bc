"""Pairs of programs that speak in datagrams, ready to be recorded and replayed (see replays.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from journey.replays import Program
from journey.runs import Place, python

from needs import needs_program, needs_root

SERVERS = {4: "10.0.0.1", 6: "fd00:706c:67::1"}
ANY = {4: "0.0.0.0", 6: "::"}
PORT = 7007
SIZES = (0, 1, 1472, 1473, 65_507)
_DNSMASQ = (
    "exec dnsmasq --no-daemon --no-resolv --no-hosts --port 5353 --user=root --log-facility=- "
    "--pid-file={place}/pid --address=/four.test/192.0.2.4 --address=/six.test/2001:db8::6 "
    "{texts} --edns-packet-max=1232 2> /dev/null"
)


@dataclass(frozen=True)
class Talk(Program):
    """A pair whose client finds out by itself when its server is up: nobody listens on TCP."""

    def run_options(self) -> list[str]:
        return ["--until", "client", *self.options]


def of_every_size(place: Place, family: int = 4) -> Program:
    return asked(family, *SIZES)


def rally(place: Place, count: int = 300) -> Program:
    """So many to and fro."""
    return Talk(
        python("post.py", "echo", SERVERS[4], PORT),
        python("post.py", "ask", SERVERS[4], PORT) + f" $(yes 8 | head -n {count})",
        PORT,
        deadline_s=120,
    )


def asked(family: int, *sizes: int, asker: int | None = None) -> Program:
    """A server of a family, and a client that asks it in the same or another."""
    return Talk(
        python("post.py", "echo", ANY[family], PORT),
        python("post.py", "ask", SERVERS[asker or family], PORT, *sizes),
        PORT,
    )


def burst(place: Place, family: int = 4) -> Program:
    """Thirty of the largest at once."""
    server = SERVERS[family]
    return Talk(
        python("post.py", "take", server, PORT, 30, 65_507),
        python("post.py", "burst", server, PORT, 30, 65_507),
        PORT,
    )


def refused(place: Place, family: int = 4) -> Program:
    """A connected socket, and nobody there who listens."""
    return Talk("exec sleep 60", python("post.py", "refused", SERVERS[family], PORT, 8), PORT)


def ping(place: Place, family: int = 4) -> Program:
    needs_root()
    needs_program("ping")
    count = "grep -o '.* received'"
    calls = (f"ping -n -i 0.1 {words} {SERVERS[family]} | {count}" for words in ("-c 3", "-c 2 -s 40000"))
    return Talk("exec sleep 60", "; ".join(calls), PORT)


def resolver(place: Place, family: int = 4) -> Program:
    """dig says which identity it takes: A, AAAA, and an answer too large for a datagram."""
    texts = " ".join(f"--txt-record=large.test,{'x' * 200}{number}" for number in range(20))
    ask = f"dig +tries=1 +short +nocookie @{SERVERS[family]} -p 5353"
    call = f"{ask} +qid=1 four.test A; {ask} +qid=2 six.test AAAA; {ask} +qid=3 large.test TXT | sort"
    return _resolver(place, texts, call)


def any_resolver(place: Place, family: int = 4) -> Program:
    """It takes another identity each time, and asks for both families at once."""
    ask = f"dig +short +nocookie @{SERVERS[family]} -p 5353"
    call = (
        f"{ask} four.test A; {ask} six.test AAAA; {ask} four.test A & {ask} six.test AAAA > /dev/null; wait"
    )
    return _resolver(place, "", call, "--echo", "0:2@5353")


def _resolver(place: Place, texts: str, call: str, *replaying: str) -> Program:
    needs_root()
    needs_program("dnsmasq", "dig")
    server = _DNSMASQ.format(place=place.path, texts=texts)
    return Program(server, call, 5353, replaying=replaying)


POSTS: dict[str, Callable[[Place], Program]] = {
    "of-every-size": of_every_size,
    "of-every-size-6": lambda place: of_every_size(place, 6),
    "rally": rally,
    "burst": burst,
    "burst-6": lambda place: burst(place, 6),
    "refused": refused,
    "refused-6": lambda place: refused(place, 6),
    "ping": ping,
    "ping-6": lambda place: ping(place, 6),
    "dns": resolver,
    "dns-6": lambda place: resolver(place, 6),
    "dns-echo": any_resolver,
}
