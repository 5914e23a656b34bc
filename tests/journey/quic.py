"""HTTP/3 over QUIC by aioquic: a server with a certificate of its own making, and a client that gets a page.

quic.py server HOST PORT FOLDER SIZE      a page of that many bytes; FOLDER gets the certificate
quic.py client HOST PORT SIZE             says as one line of JSON what it got
"""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
import sys
from pathlib import Path

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATIENCE_S = 20.0


def page(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


class Http3(QuicConnectionProtocol):
    """Hands events of HTTP/3 to `on_event`."""

    def __init__(self, *words: object, **named: object) -> None:
        super().__init__(*words, **named)  # type: ignore[arg-type]  # aioquic's own words
        self.http = H3Connection(self._quic)

    def quic_event_received(self, event: QuicEvent) -> None:
        for each in self.http.handle_event(event):
            self.on_event(each)

    def on_event(self, event: H3Event) -> None:
        raise NotImplementedError


class Server(Http3):
    size = 0

    def on_event(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self.http.send_headers(event.stream_id, [(b":status", b"200")])
            self.http.send_data(event.stream_id, page(self.size), end_stream=True)
            self.transmit()


class Client(Http3):
    def __init__(self, *words: object, **named: object) -> None:
        super().__init__(*words, **named)
        self.body = bytearray()
        self.whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_event(self, event: H3Event) -> None:
        if isinstance(event, DataReceived):
            self.body += event.data
            if event.stream_ended and not self.whole.done():
                self.whole.set_result(None)


async def run_server(host: str, port: int, folder: Path) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(*make_certificate(folder))
    await serve(host, port, configuration=configuration, create_protocol=Server)
    await asyncio.Event().wait()


async def run_client(host: str, port: int, size: int) -> None:
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    async with connect(host, port, configuration=configuration, create_protocol=Client) as client:
        assert isinstance(client, Client)
        stream = client._quic.get_next_available_stream_id()
        asked = {":method": "GET", ":scheme": "https", ":authority": "server", ":path": "/"}
        headers = [(name.encode(), value.encode()) for name, value in asked.items()]
        client.http.send_headers(stream, headers, end_stream=True)
        client.transmit()
        await asyncio.wait_for(client.whole, PATIENCE_S)
        print(json.dumps({"equal": client.body == page(size)}), flush=True)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    signed = made.not_valid_after(now + datetime.timedelta(days=2)).sign(key, hashes.SHA256())
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


if __name__ == "__main__":
    part, host, port, *rest = sys.argv[1:]
    if part == "server":
        Server.size = int(rest[1])
        asyncio.run(run_server(host, int(port), Path(rest[0])))
    else:
        asyncio.run(run_client(host, int(port), int(rest[0])))
