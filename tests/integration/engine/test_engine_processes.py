"""The pool's processes as a stranger on the machine or beside it sees them: ports, directories, arguments."""

import contextlib
import os
import socket
import stat
from ipaddress import ip_address
from typing import Any

import aiohttp
import grpc
import psutil
import pytest

from finpool.catalogue.model.schemas import Model
from finpool.serving.cluster.environment import pool_directory, ray_directory

_KINDS = ("", "Streaming", "WithRejection", "WithRejectionStreaming")
SERVE_INTERNAL_METHODS = tuple(f"/ray.serve.ASGIService/HandleRequest{kind}" for kind in _KINDS)
RAYS_METHODS = (
    SERVE_INTERNAL_METHODS[0],
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Push",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ReporterService/ReportOCMetrics",
    "/ray.rpc.LogService/ListLogs",
    "/ray.rpc.events.EventAggregatorService/AddEvents",
)
"""A method of each service that Ray's and Serve's processes offer over gRPC."""


async def status_of(url: str, method: str = "GET") -> int:
    async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
        return answer.status


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize", "/usage", "/docs", "/openapi.json", "/", ""])
async def test_every_route_of_an_engine_asks_for_the_token(pool: Any, path: str) -> None:
    for method in ("GET", "POST"):
        assert await status_of(f"{pool.engine_url()}{path}", method) == 401


async def test_a_replicas_own_port_asks_for_the_token_on_serves_paths_too(pool: Any, model: Model) -> None:
    ports = [port for _, port in pool.listeners() if 30_000 <= port <= 31_000]
    assert ports
    for port in ports:
        for path in ("/", "/-/routes", "/docs", f"{model.engine_path}/usage"):
            assert await status_of(f"http://127.0.0.1:{port}{path}") == 401


@pytest.mark.parametrize("path", ["/-/routes", "/-/ROUTES", "/metrics", "/", "/engines/none"])
async def test_the_port_of_all_engines_asks_for_the_token_before_it_names_any(pool: Any, path: str) -> None:
    assert await status_of(f"{pool.settings.serve_base_url}{path}") == 401


async def test_no_port_of_the_pool_answers_a_stranger(pool: Any) -> None:
    """Every port that any process of the pool has opened speaks HTTP or gRPC, and refuses without a token."""
    refused_with: dict[str, set[object]] = {}
    for host, port in pool.listeners():
        target = f"{'[::1]' if host == '::' else host.removeprefix('::ffff:')}:{port}"
        refused_with[target] = await statuses_without_token(target)
    assert len(refused_with) > 10
    guards = {401, grpc.StatusCode.UNAUTHENTICATED}
    silent = {404, grpc.StatusCode.UNIMPLEMENTED}
    assert {target: found for target, found in refused_with.items() if not found & guards} == {}
    assert {target: found for target, found in refused_with.items() if not found <= guards | silent} == {}


async def statuses_without_token(target: str) -> set[object]:
    """Return the answers to a stranger: of HTTP paths, or of gRPC methods where the port speaks no HTTP."""
    found: set[object] = set()
    with contextlib.suppress(aiohttp.ClientError):
        for path in ("/", "/metrics", "/-/routes", "/api/version", "/v1/models"):
            found.add(await status_of(f"http://{target}{path}"))
    return found or {answer_without_token(target, method) for method in RAYS_METHODS}


def outward_addresses() -> list[tuple[socket.AddressFamily, str]]:
    """Return the machine's addresses but loopback; one of IPv6 that holds on a link only names its interface."""
    addresses = [address for interface in psutil.net_if_addrs().values() for address in interface]
    internet = [found for found in addresses if found.family in (socket.AF_INET, socket.AF_INET6)]
    outward = [found for found in internet if not ip_address(found.address.partition("%")[0]).is_loopback]
    return [(found.family, found.address) for found in outward]


def connects(family: socket.AddressFamily, address: str, port: int) -> bool:
    with socket.socket(family) as probe:
        probe.settimeout(5)
        where = socket.getaddrinfo(address, port, family, socket.SOCK_STREAM)[0][4]
        return probe.connect_ex(where) == 0


async def test_nothing_of_the_pool_answers_on_other_interfaces_without_a_token(pool: Any) -> None:
    addresses = outward_addresses()
    if not addresses:
        pytest.skip("this machine has no address but loopback, so there is nothing to connect through")
    listeners = pool.listeners()
    assert listeners
    reachable = [
        f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
        for family, address in addresses
        for port in sorted({port for _, port in listeners})
        if connects(family, address, port)
    ]
    # The remaining port is the one that Serve's deployments call each other on; it asks for Ray's own token.
    for target in reachable:
        assert [answer_without_token(target, method) for method in SERVE_INTERNAL_METHODS] == [
            grpc.StatusCode.UNAUTHENTICATED
        ] * len(SERVE_INTERNAL_METHODS)


def answer_without_token(target: str, method: str) -> grpc.StatusCode:
    """Call a method as a stranger and return the status."""
    with grpc.insecure_channel(target) as channel:
        try:
            for _ in channel.unary_stream(method)(b"", timeout=30):
                pass
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def test_nobody_else_can_enter_the_pools_directory_although_ray_opens_its_own(pool: Any) -> None:
    directory = pool_directory(pool.settings)
    found = directory.stat()
    assert stat.S_IMODE(found.st_mode) == 0o700
    assert found.st_uid == os.getuid()
    inside = {path.name for path in directory.iterdir()}
    assert inside == {"haproxy", "h", ray_directory(pool.settings).name}
    assert stat.S_IMODE((directory / "haproxy").stat().st_mode) == 0o700
    assert any(ray_directory(pool.settings).glob("session_*/sockets/plasma_store"))


def test_no_process_shows_a_token_in_its_arguments(pool: Any) -> None:
    tokens = (pool.token, pool.settings.secret("ray_token").decode())
    processes = [pool.process, *pool.process.children(recursive=True)]
    arguments = [" ".join(process.cmdline()) for process in processes]
    assert len(arguments) > 3
    assert not any(token in line for token in tokens for line in arguments)


def test_engines_and_serve_are_scheduled_like_the_gateway(pool: Any) -> None:
    niceness = {process.name(): process.nice() for process in pool.process.children(recursive=True)}
    assert any("ServeReplica" in name for name in niceness)
    assert set(niceness.values()) == {os.nice(0)}
