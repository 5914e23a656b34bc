"""vsftpd, active and passive: the server connects to its client, and to ports agreed on the way."""

from __future__ import annotations

import random

import pytest
from journey.dumps import check_against
from journey.outside import outside, same_outside
from journey.runs import Place, record, witnessed

from needs import needs_program, needs_root, needs_tun

SERVER = "10.0.0.1"

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

CURL = f"""
set -e
curl -sS {{way}} ftp://{SERVER}/file -o got.curl
cmp got.curl ftp/file
curl -sS {{way}} -T ftp/file ftp://{SERVER}/up/curl
cmp ftp/up/curl ftp/file
curl -sS {{way}} ftp://{SERVER}/ --list-only | sort
rm -f ftp/up/curl got.curl
"""

LFTP = f"""
set -e
lftp {SERVER} << END
set ftp:passive-mode {{passive}}
set net:max-retries 1
get file -o got.lftp
cd up
put ftp/file -o lftp
cls
END
cmp got.lftp ftp/file
cmp ftp/up/lftp ftp/file
rm -f ftp/up/lftp got.lftp
"""


def _vsftpd(place: Place) -> str:
    root = place.path / "ftp"
    root.mkdir(mode=0o755)  # vsftpd refuses a root that its user may write
    (place.path / "empty").mkdir(mode=0o755)
    upload = root / "up"
    upload.mkdir()
    upload.chmod(0o777)
    (root / "file").write_bytes(random.Random(3).randbytes(700_000))
    return f"vsftpd {place.file('vsftpd.conf', VSFTPD.format(place=place.path))}"


@pytest.mark.parametrize("way", ["--ftp-pasv", "--ftp-port -"], ids=["passive", "active"])
def test_ftp_with_curl(place: Place, way: str) -> None:
    needs_program("curl")
    _play(place, CURL.format(way=way))


@pytest.mark.parametrize("passive", ["yes", "no"], ids=["passive", "active"])
def test_ftp_with_lftp(place: Place, passive: str) -> None:
    needs_program("lftp")
    _play(place, LFTP.format(passive=passive))


def _play(place: Place, words: str) -> None:
    needs_root()
    needs_tun()
    needs_program("vsftpd")
    serve, capture = _vsftpd(place), place.path / "wire.pcap"
    (place.path / "vsftpd.conf").chmod(0o644)
    call = f"sh {place.file('words.sh', words)}"
    ended = record(
        *(place, serve, witnessed(capture, SERVER, call)), options=("--ready", "p1:21", "--until", "p2")
    )
    assert ended.status == 0, ended
    check_against(place, capture)
    same_outside(ended, outside(place, serve, call, port=21))
