"""Two good runs of real programs say the same, under the rules that their replays have and under those that
are learned from them; and what is learned is used in a replay as it is.

More programs, and each five times, in `scripts/soak diff`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from journey.pairs import compared, diff, learned, recorded
from journey.runs import Place, plg, run

from needs import needs_program, needs_tun

PROGRAMS = ("redis-benchmark", "ab", "pool-keep", "pgbench", "ftp-passive")

SERVICE = """
import http.server, json, random, time, uuid
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = {
            "id": str(uuid.uuid4()), "time": time.time(), "path": self.path,
            "took_ms": random.randrange(3000), "token": random.randbytes(16).hex(),
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "items": [random.randrange(10 ** random.randrange(1, 7)) for _ in range(3)],
        }
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""
ASK = """
for i in 1 2 3; do curl -sS http://server:8000/$i > /dev/null; done
curl -sS http://server:8000/a > /dev/null & curl -sS http://server:8000/b > /dev/null & wait
"""
RESOLVER = (
    "exec dnsmasq -k -C /dev/null --no-resolv --no-hosts -u root --pid-file= --address=/a.test/10.1.2.3"
)
DIG = "for i in 1 2 3; do dig +short +tries=5 +time=1 @10.0.0.1 a.test; done"


def recorded_apart(place: Place, server: str, client: str) -> list[Path]:
    """Three good runs, none within the same second as another: what a clock says differs in all of them."""
    runs = []
    for name in ("one", "two", "three"):
        runs.append(recorded(place, name, server, client, "--ready", "server"))
        time.sleep(1)
    return runs


@pytest.mark.parametrize("name", PROGRAMS)
def test_two_good_runs_say_the_same(place: Place, name: str) -> None:
    compared(place, name, 2)


def test_rules_learned_from_two_runs_hold_for_a_third_and_in_a_replay(place: Place) -> None:
    needs_tun()
    needs_program("curl")
    server = f"exec python3 {place.file('service.py', SERVICE)}"
    runs = recorded_apart(place, server, ASK)
    rules = learned(place, *runs[:2])
    assert diff(place, runs[0], runs[2]).status == 3
    third = diff(place, "--ignore-file", rules, runs[0], runs[2])
    assert third.status == 0, (third, rules.read_text())
    words = ["-f", str(runs[0]), "--ignore-file", str(rules), "--timeout", "20", f"server: {server}"]
    replayed = run(place, plg("--replay", *words))
    assert replayed.status == 0, (replayed, rules.read_text())
    assert run(place, plg("--replay", "-f", str(runs[0]), "--timeout", "20", f"server: {server}")).status == 3


def test_what_a_server_says_of_itself_is_learned_line_by_line(place: Place) -> None:
    needs_tun()
    needs_program("redis-server", "redis-cli")
    server = "exec redis-server --bind 0.0.0.0 --protected-mode no --save ''"
    client = "redis-cli -h server set a 1; redis-cli -h server info server; redis-cli -h server get a"
    runs = recorded_apart(place, server, client)
    rules = learned(place, *runs[:2])
    assert r"(?<=run_id:)[0-9a-f]{40}(?=\r)" in rules.read_text().splitlines()
    # It may be 1 in the third alone.
    uptime = "--ignore", r"(?<=uptime_in_seconds:)\d+"
    third = diff(place, "--ignore-file", rules, *uptime, runs[0], runs[2])
    assert third.status == 0, (third, rules.read_text())
    other = recorded(place, "other", server, client.replace("set a 1", "set a 2"), "--ready", "server")
    found = diff(place, "--ignore-file", rules, *uptime, runs[0], other)
    assert found.status == 3 and "client, connection 0 client -> server:6379" in found.stdout, found


def test_a_resolver_s_identities_are_learned_and_any_dig_is_answered(place: Place) -> None:
    needs_tun()
    needs_program("dnsmasq", "dig")
    runs = [recorded(place, name, RESOLVER, f"sleep 0.5; {DIG}") for name in ("one", "two")]
    assert diff(place, *runs).status == 3
    rules = learned(place, *runs)
    assert "--echo 0:2@53" in rules.read_text().splitlines()
    # What is learned, and what the README says of dig.
    for how in (
        ["--ignore-file", str(rules)],
        ["--echo", "0:2@53", "--ignore", r"(?s)(?<=\x00\x0a\x00\x08).{8}"],
    ):
        words = ["-f", str(runs[0]), *how, "--timeout", "20", f"client: {DIG}"]
        replayed = run(place, plg("--replay", *words))
        assert replayed.status == 0 and replayed.stdout == "10.1.2.3\n" * 3, replayed
