"""nginx with wrk, and Python's http.server with thirty-two curls at once."""

from __future__ import annotations

import hashlib
import random
import sys

from journey.dumps import check_against, check_dump
from journey.outside import outside, same_outside
from journey.runs import Place, record, witnessed

from needs import needs_program, needs_root, needs_tun

SERVER = "10.0.0.1"

NGINX = """
user www-data;
daemon off;
worker_processes 2;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{ worker_connections 512; }}
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


def _nginx(place: Place) -> str:
    www = place.folder("www")
    (www / "page").write_bytes(random.Random(1).randbytes(300))
    (www / "secret").write_text("for root only")
    (www / "secret").chmod(0o600)
    config = place.file("nginx.conf", NGINX.format(place=place.path))
    return f"nginx -p {place.path} -c {config}"


def test_nginx_and_wrk(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("nginx", "wrk")
    serve, capture = _nginx(place), place.path / "wire.pcap"
    call = witnessed(capture, SERVER, f"wrk -t 2 -c 20 -d 1 http://{SERVER}:8080/page")
    ended = record(place, serve, call, options=("--ready", "p1:8080", "--until", "p2"))
    assert ended.status == 0, ended
    assert "requests in" in ended.stdout
    assert "Socket errors" not in ended.stdout
    assert "Non-2xx" not in ended.stdout
    # wrk leaves in the middle of its answers.
    check_against(place, capture, cut=True)


def test_nginx_drops_to_its_user(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("nginx", "curl")
    serve = _nginx(place)
    # Root may read the file; the user of nginx's workers may not.
    ask = "curl -s -o /dev/null -w '%{{http_code}}\\n' http://{0}:8080/{1}"
    call = f"{ask.format(SERVER, 'page')}; {ask.format(SERVER, 'secret')}"
    ended = record(place, serve, call, options=("--ready", "p1:8080", "--until", "p2"))
    assert ended.status == 0, ended
    assert ended.stdout == "200\n403\n"
    check_dump(place, connections=2)
    same_outside(ended, outside(place, serve, call, port=8080))


def test_thirty_two_curls_at_once(place: Place) -> None:
    needs_tun()
    needs_program("curl")
    www, got = place.folder("www"), place.folder("got")
    dice = random.Random(2)
    for number in range(32):
        (www / f"f{number}").write_bytes(dice.randbytes(1000 + 9000 * number))
    # Its backlog is five: SYNs are dropped and come again, with and without plg.
    serve = f"{sys.executable} -m http.server --directory {www} 8000 2> /dev/null"
    call = f"seq 0 31 | xargs -P 32 -I N curl -sS -o {got}/fN http://{SERVER}:8000/fN"
    ended = record(place, serve, call, options=("--ready", "p1:8000", "--until", "p2"))
    assert ended.status == 0, ended
    for number in range(32):
        assert (got / f"f{number}").read_bytes() == (www / f"f{number}").read_bytes()
    streams = check_dump(place, connections=32)
    bodies = sorted(
        hashlib.sha256(stream.received.partition(b"\r\n\r\n")[2]).hexdigest() for stream in streams
    )
    assert bodies == sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in www.iterdir())
