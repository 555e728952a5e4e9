"""Addresses of backends; behind TLS, such as another party's, the certificate must be one that this machine trusts."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from finpool.kernel.errors import ConfigurationError
from finpool.serving.connections import Connections

SECONDS_MAX = 5.0


def write_certificate(path: Path, address: str) -> None:
    """Write a key and a certificate of its own for an address, good for an hour, into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "engine")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()


@pytest.fixture(params=["127.0.0.1", "127.0.0.2"])
async def certified_for(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    write_certificate(tmp_path / "engine.pem", request.param)
    return str(request.param)


@pytest.fixture
async def url(certified_for: str, tmp_path: Path) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "engine.pem")
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_a_backend_is_asked_only_if_its_certificate_is_trusted_and_its_own(
    url: str, certified_for: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Connections(url, "token")
    with pytest.raises(ssl.SSLCertVerificationError):
        await stranger.get("/health", SECONDS_MAX)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "engine.pem"))
    trusting = Connections(url, "token")
    if certified_for == "127.0.0.1":
        exchange = await trusting.get("/health", SECONDS_MAX)
        assert (await exchange.head(SECONDS_MAX), await exchange.read(SECONDS_MAX)) == (200, b"ok")
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            await trusting.get("/health", SECONDS_MAX)
    trusting.close()


@pytest.mark.parametrize("address", ["127.0.0.1:80", "ftp://127.0.0.1", "http://", "unix:///x"])
async def test_what_is_no_address_of_a_backend_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="not the http or https address"):
        Connections(address, "token")


async def test_a_token_that_would_add_a_header_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="printable"):
        Connections("http://127.0.0.1", "token\r\nx-other: 1")
