"""The listener: only while this process leads, with health, with TLS for one side or both."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cycling import eventually
from keda import Client, Plans, scaled_object

from pertoken.scaler.credentials import CertificateFiles
from pertoken.scaler.server import ScalerServer
from pertoken_sandbox.pki import Authority, CertificateSubject

HOST = "127.0.0.1"
Code = grpc.StatusCode


@contextlib.asynccontextmanager
async def running(plans: Plans, port: int = 0, tls: CertificateFiles | None = None) -> AsyncIterator[ScalerServer]:
    server = ScalerServer(plans.recommended, HOST, port, tls)
    task = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def asking(server: ScalerServer, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Client]:
    await eventually(lambda: server.bound)
    address = f"{HOST}:{server.bound}"
    channel = (
        grpc.aio.insecure_channel(address)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options=[("grpc.use_local_subchannel_pool", 1)])
    )
    async with channel:
        yield Client(channel)


async def answered(client: Client) -> float:
    """The metric once the client has connected anew; it waits longer after each try in vain."""
    async with asyncio.timeout(30):
        while (value := await value_or_none(client)) is None:  # noqa: ASYNC110 - over the wire
            await asyncio.sleep(0.1)
    return value


async def value_or_none(client: Client) -> float | None:
    """None where no connection comes about."""
    try:
        return await client.metric(service="chat")
    except grpc.aio.AioRpcError as error:
        if error.code() is not Code.UNAVAILABLE:
            raise
        return None


@pytest.fixture
def plans() -> Plans:
    plans = Plans()
    plans.lend("chat", 7)
    plans.turn()
    return plans


async def test_what_stands_by_refuses_connections_and_serves_when_it_leads(plans):
    plans.leader.held = False
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
    async with running(plans, port) as server, grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
        await asyncio.sleep(0.5)
        assert server.bound is None
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await Client(channel).metric(service="chat")
        assert error.value.code() is Code.UNAVAILABLE
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        plans.leader.held = True
        assert await answered(Client(channel)) == 7.0


async def test_who_loses_the_lease_ends_its_streams_and_its_connections(plans):
    async with running(plans) as server, asking(server) as client:
        pushed = client.call("StreamIsActive")(scaled_object(service="chat"))
        assert (await pushed.read()).result is True
        plans.leader.held = False
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.metric(service="chat")
        assert error.value.code() is Code.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await pushed.read()
        assert error.value.code() in (Code.UNAVAILABLE, Code.CANCELLED)
        await eventually(lambda: server.bound is None)
        plans.leader.held, plans.leader.term = True, 2
        plans.turn()
        async with asking(server) as again:
            assert await answered(again) == 7.0


async def test_health_follows_the_plan(plans):
    async with running(plans) as server, asking(server) as client:
        for service in ("", "externalscaler.ExternalScaler"):
            assert await client.health(service) == "SERVING"
        plans.clock.at += 1000.0
        async with asyncio.timeout(10):
            while await client.health() != "NOT_SERVING":  # noqa: ASYNC110 - over the wire
                await asyncio.sleep(0.05)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.health("another.Service")
        assert error.value.code() is Code.NOT_FOUND


async def test_a_port_that_is_taken_is_told(plans):
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"the scaler cannot listen on {HOST}:{port}"):
            await ScalerServer(plans.recommended, HOST, port).run()


def issued(authority: Authority, name: str) -> tuple[Path, Path]:
    pair = authority.issue(name, CertificateSubject(name, hosts=("localhost", HOST)))
    return pair.certificate, pair.key


def trusting(authority: Path, client: tuple[Path, Path] | None = None) -> grpc.ChannelCredentials:
    certificate, key = client or (None, None)
    return grpc.ssl_channel_credentials(
        authority.read_bytes(), key and key.read_bytes(), certificate and certificate.read_bytes()
    )


async def test_tls_for_the_server_and_for_clients(plans, tmp_path):
    ours, theirs = Authority(tmp_path / "ours", "ca"), Authority(tmp_path / "theirs", "ca")
    ca, other = tmp_path / "ours" / "ca.crt", tmp_path / "theirs" / "ca.crt"
    certificate, key = issued(ours, "scaler")
    known, stranger = issued(ours, "keda"), issued(theirs, "keda")

    async def reaches(server: ScalerServer, credentials: grpc.ChannelCredentials | None) -> bool:
        async with asking(server, credentials) as client:
            return await value_or_none(client) == 7.0

    async with running(plans, tls=CertificateFiles(certificate, key)) as server:
        assert [await reaches(server, with_) for with_ in (trusting(ca), trusting(other), None)] == [True, False, False]
    async with running(plans, tls=CertificateFiles(certificate, key, ca)) as server:
        clients = (trusting(ca, known), trusting(ca, stranger), trusting(ca), None)
        assert [await reaches(server, with_) for with_ in clients] == [True, False, False, False]


async def test_a_renewed_certificate_is_used_by_the_next_connection(plans, tmp_path):
    first, second = Authority(tmp_path / "first", "ca"), Authority(tmp_path / "second", "ca")
    pairs = [issued(authority, "scaler") for authority in (first, second)]
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def install(pair: tuple[Path, Path]) -> None:
        certificate.write_bytes(pair[0].read_bytes())
        key.write_bytes(pair[1].read_bytes())

    install(pairs[0])
    async with running(plans, tls=CertificateFiles(certificate, key)) as server:
        async with asking(server, trusting(tmp_path / "first" / "ca.crt")) as client:
            assert await client.metric(service="chat") == 7.0
        certificate.unlink()
        async with asking(server, trusting(tmp_path / "first" / "ca.crt")) as client:
            assert await client.metric(service="chat") == 7.0
        install(pairs[1])
        async with asking(server, trusting(tmp_path / "second" / "ca.crt")) as client:
            assert await client.metric(service="chat") == 7.0
