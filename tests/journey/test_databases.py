"""redis, memcached and PostgreSQL, each with a client of its own, unchanged."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from journey.dumps import check_against, check_dump
from journey.ordinary import BECOME, as_nobody
from journey.outside import outside, same_outside
from journey.runs import Place, record, witnessed

from needs import needs_program, needs_root, needs_tun

CLIENT = "10.0.0.2"
SERVER = "10.0.0.1"

REDIS = "redis-server --bind 0.0.0.0 --protected-mode no --save '' > /dev/null"
BENCHMARK = f"redis-benchmark -h {SERVER} -c 50 -P 16 -n 20000 -t set,get,lrange_100 --csv"


def test_redis_benchmark_with_fifty_clients_that_pipeline(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("redis-server", "redis-benchmark")
    capture = place.path / "wire.pcap"
    ended = record(
        place, REDIS, witnessed(capture, SERVER, BENCHMARK), options=("--ready", "p1:6379", "--until", "p2")
    )
    assert ended.status == 0, ended
    check_against(place, capture, cut=True)
    same_outside(ended, outside(place, REDIS, BENCHMARK, port=6379), figures=True)


# One short exchange, one value near memcached's limit of 1 MiB, one parallel dozen.
MEMCACHED_WORDS = f"""
{{ printf 'set a 0 0 5\\r\\nhello\\r\\nget a\\r\\nincr a 1\\r\\nquit\\r\\n'; }} | nc -N {SERVER} 11211
{{ printf 'set b 0 0 900000\\r\\n'; head -c 900000 /dev/zero; printf '\\r\\nget b\\r\\nquit\\r\\n'; }} |
    nc -N {SERVER} 11211 | cksum
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    printf "set k$i 0 0 2\\r\\nhi\\r\\nget k$i\\r\\nquit\\r\\n" | nc -N {SERVER} 11211 > k$i.out &
done
wait
cat k*.out
"""


def test_memcached(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("memcached", "nc")
    serve = "memcached -u nobody -l 0.0.0.0 -p 11211"
    words = place.file("words.sh", MEMCACHED_WORDS)
    capture = place.path / "wire.pcap"
    ended = record(
        *(place, serve, witnessed(capture, SERVER, f"sh {words}")), options=("--ready", "p1", "--until", "p2")
    )
    assert ended.status == 0, ended
    assert "VALUE a 0 5" in ended.stdout
    check_against(place, capture)
    assert len(check_dump(place)) == 14
    same_outside(ended, outside(place, serve, f"sh {words}", port=11211))


# "the database system is starting up" comes from a PostgreSQL that listens already.
ASK = f"psql -h {SERVER} -U postgres -At postgres -c"
POSTGRES_WORDS = f"""
set -e
until pg_isready -q -h {SERVER}; do sleep 0.05; done
{ASK} "select 'from ' || host(inet_client_addr())"
{ASK} "select count(*), sum(length(repeat('x', n))) from generate_series(1, 3000) n"
{ASK} "select string_agg(md5(n::text), '') from generate_series(1, 20000) n" | cksum
pgbench -h {SERVER} -U postgres -i -q -s 1 postgres 2> /dev/null
pgbench -h {SERVER} -U postgres -n -c 8 -j 2 -t 40 postgres | grep -E 'actually|failed|clients'
"""


class Cluster:
    """A fresh PostgreSQL cluster that belongs to a user."""

    def __init__(self, place: Place, user: Sequence[str]) -> None:
        self.binaries = Path(needs_program("initdb")[0]).resolve().parent
        self.data = place.path / "data"
        words = [*user, str(self.binaries / "initdb"), "-D", str(self.data), "-A", "trust", "-U", "postgres"]
        made = subprocess.run([*words, "--no-sync"], capture_output=True, text=True, cwd=place.path)
        assert made.returncode == 0, made.stderr
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all trust\n")
        self.sockets = place.folder("sockets")

    def serve(self) -> str:
        settings = f"-c listen_addresses='*' -c unix_socket_directories={self.sockets} -c fsync=off"
        return f"exec {self.binaries}/postgres -D {self.data} {settings}"

    def call(self, place: Place) -> str:
        words = place.file("words.sh", POSTGRES_WORDS)
        return f"PATH=$PATH:{self.binaries}; . {words}"


def test_postgres_as_its_own_user(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("initdb", "postgres", "psql", "pgbench", "setpriv")
    cluster = Cluster(place, ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"])
    options = ("-u", "postgres", "--ready", "p1:5432", "--until", "p2")
    ended = record(place, cluster.serve(), cluster.call(place), options=options, deadline_s=60)
    assert ended.status == 0, ended
    assert f"from {CLIENT}\n" in ended.stdout
    assert "320/320" in ended.stdout
    streams = check_dump(place)
    assert len(streams) >= 3 + 1 + 8


def test_postgres_says_on_the_wire_what_the_dump_has(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("initdb", "postgres", "psql", "pgbench", "setpriv")
    user = "setpriv --reuid=postgres --regid=postgres --init-groups --"
    cluster = Cluster(place, user.split())
    capture = place.path / "wire.pcap"
    serve = f"exec {user} sh -c {_quoted(cluster.serve())}"
    call = cluster.call(place)
    ended = record(
        *(place, serve, witnessed(capture, SERVER, call)),
        options=("--ready", "p1:5432", "--until", "p2"),
        deadline_s=60,
    )
    assert ended.status == 0, ended
    check_against(place, capture)
    same_outside(ended, outside(place, serve, call, port=5432), figures=True)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def test_postgres_as_an_ordinary_user(place: Place) -> None:
    needs_tun()
    needs_program("initdb", "postgres", "psql", "pgbench")
    ordinary = as_nobody(place)
    user = BECOME if os.geteuid() == 0 else []
    cluster = Cluster(place, user)
    options = ("--ready", "p1:5432", "--until", "p2")
    ended = record(
        place, cluster.serve(), cluster.call(place), options=options, before=ordinary, deadline_s=60
    )
    assert ended.status == 0, ended
    assert "320/320" in ended.stdout
    check_dump(place)
