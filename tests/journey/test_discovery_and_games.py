"""Programs that speak datagrams to their neighbours: avahi in both families, a game and its server, HTTP/3;
and servers over IPv6."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from journey.datagrams import check_datagrams
from journey.dumps import check_dump
from journey.runs import Place, python, record, witnessed

from needs import cannot_run, needs_program, needs_root, needs_tun
from netplayground.dump.reader import open_dump

SERVER4, SERVER6 = "10.0.0.1", "fd00:706c:67::1"
CLIENT4, CLIENT6 = "10.0.0.2", "fd00:706c:67::2"

DBUS = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/>
  </policy>
</busconfig>
"""
AVAHI = """
[server]
use-ipv4=yes
use-ipv6=yes
allow-interfaces=tun0
allow-point-to-point=yes
[publish]
publish-workstation=no
"""
BROWSE = """
for turn in 1 2 3 4 5 6 7 8 9 10; do
    avahi-browse -rpt _ipp._tcp > "$1/found"
    [ "$(grep -c ^= "$1/found")" = 2 ] && break
    sleep 0.5
done
grep ^= "$1/found" | sort
"""


def test_avahi_in_both_families(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon", "unshare")
    place.file("dbus.conf", DBUS)
    place.file("avahi.conf", AVAHI)
    place.file("passwd", "root:x:0:0::/:/bin/sh\navahi:x:0:0::/:/bin/sh\n")
    place.file("group", "root:x:0:\navahi:x:0:\nnetdev:x:0:\n")
    script, capture = Path(__file__).with_name("avahi.sh"), place.path / "wire.pcap"
    publish = "avahi-publish -s Printer _ipp._tcp 631 note=here; sleep 60"
    seek = f"sh {script} {place.path} '{BROWSE}'"
    ended = record(
        place,
        f"web: sh {script} {place.path} '{publish}' 2> /dev/null",
        "seeker: " + witnessed(capture, SERVER4, seek),
        options=("--until", "seeker"),
    )
    assert ended.stdout.splitlines() == [
        f'=;tun0;IPv4;Printer;Internet Printer;local;web.local;{SERVER4};631;"note=here"',
        f'=;tun0;IPv6;Printer;Internet Printer;local;web.local;{SERVER6};631;"note=here"',
    ], ended
    said = check_datagrams(place, {CLIENT4: capture, CLIENT6: capture}, cut=True)
    groups = {each.destination for each in said if 5353 in each.ports}
    assert {"224.0.0.251", "ff02::fb"} <= groups


def test_a_game_of_two_and_its_server(place: Place) -> None:
    """Doom: each player says at every tic what he does."""
    needs_root()
    needs_tun()
    needs_program("timeout")
    server, play = (shutil.which(name, path="/usr/games") for name in ("chocolate-server", "chocolate-doom"))
    wad = Path("/usr/share/games/doom/freedm.wad")
    if server is None or play is None or not wad.exists():
        cannot_run("needs chocolate-doom and freedm")
    captures = {f"10.0.0.{number}": place.path / f"wire{number}.pcap" for number in (2, 3)}
    players = []
    for address, capture in captures.items():
        home = place.folder(f"home{address[-1]}")
        game = (
            f"HOME={home} SDL_VIDEODRIVER=dummy SDL_AUDIODRIVER=dummy timeout 4 {play} -iwad {wad} "
            f"-connect {SERVER4} -nosound -nodes 2 -nogui -window -deathmatch -warp 1 > /dev/null || true"
        )
        players.append(witnessed(capture, SERVER4, game))
    ended = record(
        place, f"{server} -privateserver > /dev/null", *players, options=("--until", "p2", "--until", "p3")
    )
    assert ended.status == 0, ended
    said = check_datagrams(place, captures, cut=True)
    tics = [sum(each.source == address and 2342 in each.ports for each in said) for address in captures]
    assert min(tics) > 30, tics


@pytest.mark.parametrize("server", [SERVER4, SERVER6])
def test_http3(place: Place, server: str) -> None:
    needs_root()
    needs_tun()
    if importlib.util.find_spec("aioquic") is None:
        cannot_run("needs aioquic")
    capture, client = place.path / "wire.pcap", CLIENT4 if server == SERVER4 else CLIENT6
    call = python("quic.py", "client", server, 4433, 200_000)
    ended = record(
        place,
        python("quic.py", "server", server, 4433, place.path, 200_000),
        witnessed(capture, SERVER4, call),
        options=("--until", "p2"),
    )
    assert ended.status == 0, ended
    assert json.loads(ended.stdout) == {"equal": True}
    said = check_datagrams(place, {client: capture})
    assert sum(len(each.payload) for each in said if 4433 in each.ports) > 200_000


def test_redis_over_ipv6(place: Place) -> None:
    needs_tun()
    needs_program("redis-server", "redis-benchmark")
    ended = record(
        place,
        "redis-server --bind '::' --protected-mode no --save '' > /dev/null",
        f"redis-benchmark -h {SERVER6} -c 10 -n 2000 -t set,get --csv",
        options=("--ready", "p1:6379", "--until", "p2"),
    )
    assert ended.status == 0, ended
    assert '"GET"' in ended.stdout
    check_dump(place)
    with open_dump(place.dump) as dump:
        assert {str(each.server.address) for each in dump.connections} == {SERVER6}


NGINX = """
daemon off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/error.log; user root;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f;
    uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    server {{ listen [::]:8080; root {place}/www; }} }}
"""


def test_nginx_over_ipv6(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("nginx", "curl")
    (place.folder("www") / "page").write_bytes(bytes(100_000))
    config = place.file("nginx.conf", NGINX.format(place=place.path))
    ended = record(
        place,
        f"web: nginx -p {place.path} -c {config}",
        f"curl: curl -s -6 http://web:8080/page | wc -c; curl -s http://[{SERVER6}]:8080/page | wc -c",
        options=("--ready", "web:8080", "--until", "curl"),
    )
    assert ended.stdout.split() == ["100000", "100000"], ended
    check_dump(place, connections=2)
