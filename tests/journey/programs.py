"""The programs of the replays: servers and clients as people use them, made ready in a place.

`IGNORE_…` are what really differs from run to run; the README prints the same rules.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from journey.replays import Program, copy_folder
from journey.runs import Place, python

from needs import cannot_run, needs_program, needs_root, needs_tun

SERVER = "10.0.0.1"

IGNORE_DATE = r"Date: [^\r\n]*"
IGNORE_BACKEND_KEY = r"(?s)K\x00\x00\x00\x0c.{8}"
IGNORE_PASSIVE_PORT = r"Entering (Extended )?Passive Mode \([^)]*\)"
IGNORE_ACTIVE_PORT = r"(PORT|EPRT) [^\r\n]*"

REDIS = "redis-server --bind 0.0.0.0 --protected-mode no --save '' > /dev/null"

# $here is the place.
REDIS_SCRIPT = """
ask() { redis-cli -h 10.0.0.1 "$@"; }
ask ping
ask set name value
ask get name
ask rpush list $(seq 500)
ask lrange list 0 -1
seq 20000 | ask -x set numbers
ask get numbers | cksum
ask -r 20 incr counter
ask eval "return redis.call('get', KEYS[1]) .. ARGV[1]" 1 name x
ask get nothing
ask no-such-command
"""

MEMCACHED_SCRIPT = r"""
ask() { nc -N 10.0.0.1 11211; }
printf 'set a 0 0 5\r\nhello\r\nget a\r\nincr a 1\r\nquit\r\n' | ask
{ printf 'set b 0 0 900000\r\n'; head -c 900000 /dev/zero; printf '\r\nget b\r\nquit\r\n'; } | ask | cksum
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    printf "set k$i 0 0 2\r\nhi\r\nget k$i\r\nquit\r\n" | ask > $here/k$i.out &
done
wait
cat $here/k*.out
"""


def shell(place: Place, script: str) -> str:
    """A command line that runs a script, in which $here is the place."""
    return f"exec sh {place.file('words.sh', f'here={place.path}{chr(10)}{script}')}"


def redis_script(place: Place) -> Program:
    needs_program("redis-server", "redis-cli")
    return Program(REDIS, shell(place, REDIS_SCRIPT), 6379)


def redis_benchmark(place: Place) -> Program:
    needs_program("redis-server", "redis-benchmark")
    client = f"redis-benchmark -h {SERVER} -c 20 -n 1000 -t set,get,lrange_100 --csv"
    return Program(REDIS, client, 6379, says_figures=True)


def memcached(place: Place) -> Program:
    needs_program("memcached", "nc")
    server = "exec memcached -u nobody -l 0.0.0.0 -p 11211"
    return Program(server, shell(place, MEMCACHED_SCRIPT), 11211)


def smtp(place: Place) -> Program:
    try:
        import aiosmtpd  # noqa: F401  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        cannot_run("needs aiosmtpd")
    server = f"exec {sys.executable} -m aiosmtpd -n -l 0.0.0.0:2525 -c aiosmtpd.handlers.Sink"
    return Program(server, python("clients.py", "smtp", SERVER, 2525), 2525)


# -- HTTP

NGINX = """
user www-data;
daemon off;
worker_processes 2;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {place}/tmp-body;
    proxy_temp_path {place}/tmp-proxy;
    fastcgi_temp_path {place}/tmp-fastcgi;
    uwsgi_temp_path {place}/tmp-uwsgi;
    scgi_temp_path {place}/tmp-scgi;
    server {{ listen 8080; root {place}/www; }}
}}
"""


def files_to_serve(place: Place, count: int, size: int) -> Path:
    """`count` files f0, f1, … of other bytes each, the largest of `size`."""
    www = place.folder("www")
    dice = random.Random(2)
    for number in range(count):
        (www / f"f{number}").write_bytes(dice.randbytes(1000 + (size - 1000) * number // count))
    return www


def nginx(place: Place, count: int, size: int) -> str:
    needs_root()
    needs_program("nginx")
    files_to_serve(place, count, size)
    config = place.file("nginx.conf", NGINX.format(place=place.path))
    return f"exec nginx -p {place.path} -c {config}"


def http_server(place: Place, count: int, size: int) -> str:
    www = files_to_serve(place, count, size)
    return f"exec {sys.executable} -m http.server --directory {www} 8080 > /dev/null 2>&1"


def ab(place: Place) -> Program:
    needs_program("ab")
    page = f"http://{SERVER}:8080/f0"
    client = f"ab -q -n 100 -c 4 {page} | grep -E '^(Document|Complete|Failed|HTML|Total transferred|Non)'"
    return Program(http_server(place, 1, 5000), client, 8080, ignore=(IGNORE_DATE,))


def curls(place: Place) -> Program:
    needs_program("curl")
    got = place.folder("got")
    fetch = f"seq 0 31 | xargs -P 32 -I N curl -sS -o {got}/fN http://{SERVER}:8080/fN"
    client = f"rm -f {got}/*; {fetch}; cd {got} && cksum *"
    return Program(http_server(place, 32, 300_000), client, 8080, ignore=(IGNORE_DATE,))


def pool_each(place: Place) -> Program:
    client = python("clients.py", "pool", SERVER, 8080, 200, 8, "each")
    return Program(nginx(place, 200, 20_000), client, 8080, ignore=(IGNORE_DATE,))


def pool_keep(place: Place) -> Program:
    client = python("clients.py", "pool", SERVER, 8080, 200, 8, "keep")
    return Program(nginx(place, 200, 20_000), client, 8080, ignore=(IGNORE_DATE,))


def downloads(place: Place) -> Program:
    """Different files all at once, whose order changes from run to run."""
    client = python("clients.py", "download", SERVER, 8080, 256)
    return Program(nginx(place, 256, 50_000), client, 8080, ignore=(IGNORE_DATE,))


# -- PostgreSQL

PSQL_SCRIPT = """
create table things (number int primary key, name text);
insert into things select n, 'thing ' || n from generate_series(1, 500) n;
select * from things where number % 7 = 0 order by number;
select string_agg(md5(n::text), '') from generate_series(1, 20000) n;
select 1 / 0;
copy things to stdout;
\\d things
"""

LOOP = r"""
\set number random(1, 1000000)
select :number as got \gset
select md5(:got::text);
select :got + 1;
"""

PGBENCH_LINES = "grep -E 'clients|transactions|failed' | grep -v -E 'time|tps'"


class Cluster:
    """A PostgreSQL cluster that is made once and copied afresh for each run."""

    def __init__(self, place: Place, rules: str = "host all all all trust") -> None:
        needs_root()
        self.binaries = Path(needs_program("initdb", "postgres", "psql", "pgbench")[0]).resolve().parent
        self.made, self.data = place.path / "made", place.path / "data"
        self.sockets = place.folder("sockets")
        self._call("initdb", "-D", self.made, "-A", "trust", "-U", "postgres", "--no-sync")
        self._call(
            "pg_ctl", "-D", self.made, "-w", "-l", place.path / "tmp" / "log", "-o", self._options, "start"
        )
        try:
            host = ("-h", self.sockets, "-U", "postgres")
            self._call("pgbench", *host, "-i", "-q", "-s", 1, "postgres")
            self._call("psql", *host, "-c", "alter user postgres password 'secret'", "postgres")
        finally:
            self._call("pg_ctl", "-D", self.made, "-w", "stop")
        (place.path / "tmp" / "log").unlink()
        with (self.made / "pg_hba.conf").open("w") as file:
            file.write(f"local all all trust\n{rules}\n")

    @property
    def _options(self) -> str:
        return f"-c listen_addresses= -c unix_socket_directories={self.sockets} -c fsync=off"

    def _call(self, program: str, *words: object) -> None:
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
        command = [*user, str(self.binaries / program), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.sockets.parent)
        assert done.returncode == 0, done.stderr

    def refresh(self) -> None:
        copy_folder(self.made, self.data)

    def program(self, client: str, deadline_s: float = 60) -> Program:
        """PostgreSQL listens before it lets anyone in, and an early client is told so: it comes when the
        server is up for certain, in the recording and, as time is kept, in the replays."""
        settings = f"-c listen_addresses='*' -c unix_socket_directories={self.sockets} -c fsync=off"
        client = f"PATH=$PATH:{self.binaries}; sleep 1; {client}"
        return Program(
            f"exec {self.binaries}/postgres -D {self.data} {settings} 2> /dev/null",
            client,
            5432,
            options=("-u", "postgres"),
            ignore=(IGNORE_BACKEND_KEY,),
            refresh=self.refresh,
            deadline_s=deadline_s,
        )


def psql(place: Place) -> Program:
    script = place.file("script.sql", PSQL_SCRIPT)
    words = f"psql -h {SERVER} -U postgres -At postgres"
    return Cluster(place).program(f"{words} -c 'select 1, 2'; {words} -f {script} 2>&1")


def pgbench(place: Place) -> Program:
    words = f"pgbench -h {SERVER} -U postgres -n -c 4 -t 10 --random-seed=7 postgres"
    return Cluster(place).program(f"{words} | {PGBENCH_LINES}")


def pgbench_64(place: Place) -> Program:
    """All begin alike, and each goes on with what it has heard."""
    script = place.file("loop.sql", LOOP)
    words = f"pgbench -h {SERVER} -U postgres -n -t 5 --random-seed=$i -f {script} postgres"
    loop = f"i=0; while [ $i -lt 64 ]; do {words} > {place.path}/out.$i & i=$((i + 1)); done; wait"
    client = f"{loop}; cat {place.path}/out.* | {PGBENCH_LINES}"
    for number in range(64):
        place.file(f"out.{number}", "")
    return Cluster(place).program(client, deadline_s=120)


# -- FTP

VSFTPD = """
listen=YES
background=NO
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_umask=022
anon_root={place}/ftp
secure_chroot_dir={place}/empty
connect_from_port_20=YES
"""

CURL = """
set -e
curl -sS WAY ftp://10.0.0.1/file -o $here/got
cmp $here/got $here/file && echo same
curl -sS WAY -T $here/file ftp://10.0.0.1/up/curl
curl -sS WAY ftp://10.0.0.1/ --list-only | sort
"""

LFTP = """
set -e
rm -f $here/got
lftp 10.0.0.1 << END
set ftp:passive-mode WAY
set net:max-retries 1
get file -o $here/got
cd up
put $here/file -o lftp
nlist
END
cmp $here/got $here/file && echo same
"""


def vsftpd(place: Place, words: str) -> Program:
    needs_root()
    needs_program("vsftpd")
    root, upload = place.path / "ftp", place.path / "ftp" / "up"
    root.mkdir(mode=0o755)  # vsftpd refuses a root that its user may write
    (place.path / "empty").mkdir(mode=0o755)
    upload.mkdir()
    upload.chmod(0o777)
    content = random.Random(3).randbytes(300_000)
    (root / "file").write_bytes(content)
    place.file("file", content)

    def refresh() -> None:
        for file in upload.iterdir():
            file.unlink()

    config = place.file("vsftpd.conf", VSFTPD.format(place=place.path))
    config.chmod(0o644)
    ignore = (IGNORE_PASSIVE_PORT, IGNORE_ACTIVE_PORT)
    return Program(f"exec vsftpd {config}", shell(place, words), 21, ignore=ignore, refresh=refresh)


def ftp_passive(place: Place) -> Program:
    needs_program("curl")
    return vsftpd(place, CURL.replace("WAY", "--ftp-pasv"))


def ftp_active(place: Place) -> Program:
    needs_program("curl")
    return vsftpd(place, CURL.replace("WAY", "--ftp-port -"))


def lftp_passive(place: Place) -> Program:
    needs_program("lftp")
    return vsftpd(place, LFTP.replace("WAY", "yes"))


def lftp_active(place: Place) -> Program:
    needs_program("lftp")
    return vsftpd(place, LFTP.replace("WAY", "no"))


PROGRAMS: dict[str, Callable[[Place], Program]] = {
    "redis-script": redis_script,
    "redis-benchmark": redis_benchmark,
    "memcached": memcached,
    "smtp": smtp,
    "ab": ab,
    "curls": curls,
    "pool-each": pool_each,
    "pool-keep": pool_keep,
    "psql": psql,
    "pgbench": pgbench,
    "ftp-passive": ftp_passive,
    "ftp-active": ftp_active,
    "lftp-passive": lftp_passive,
    "lftp-active": lftp_active,
}

CROWDS: dict[str, Callable[[Place], Program]] = {
    "downloads": downloads,
    "pgbench-64": pgbench_64,
}


def make(name: str, place: Place) -> Program:
    """The program of that name, ready to run; a test that cannot run it skips."""
    needs_tun()
    return {**PROGRAMS, **CROWDS}[name](place)
