"""Addresses of backends; behind TLS, such as another party's, the certificate must be one that this machine trusts."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from certificate import write_certificate

from finpool.kernel.errors import ConfigurationError
from finpool.serving.transport.connections import Connections

SECONDS_MAX = 5.0


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
        call = await trusting.get("/health", SECONDS_MAX)
        assert (await call.head(SECONDS_MAX), await call.read(SECONDS_MAX)) == (200, b"ok")
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
