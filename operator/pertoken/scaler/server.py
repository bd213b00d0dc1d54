"""The gRPC server: it listens only while this process leads.

A process that stands by refuses connections, so that a client whose connection goes to one of several processes ends
at the one that plans; docs/adr/0012-scaler-listens-while-it-leads.md has why.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from pertoken.scaler.credentials import CertificateFiles
from pertoken.scaler.recommended import Recommended
from pertoken.scaler.service import SERVICE, ScalerService

LOGGER = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.2  # between two looks at whether this process leads
GRACE_SECONDS: Final = 1.0  # for requests that are being answered when the server stops
_OPTIONS: Final = (("grpc.so_reuseport", 0),)  # a port that is taken is an error


@dataclass(slots=True)
class ScalerServer:
    """Listens while this process leads.

    Attributes:
        tls: None serves without encryption.
        port: 0 takes a free one.
        bound: the port that is listened on; None while this process stands by.
    """

    recommended: Recommended
    host: str
    port: int
    tls: CertificateFiles | None = None
    bound: int | None = None

    async def run(self) -> None:
        """Serve whenever this process leads, until cancelled.

        Raises:
            OSError: the address is in use, or a certificate cannot be read.
        """
        while True:
            while not self.recommended.leading:  # noqa: ASYNC110 - the lease lives in a thread of its own
                await asyncio.sleep(LOOK_SECONDS)
            await self._serve()

    async def _serve(self) -> None:
        server, state = grpc.aio.server(options=_OPTIONS), health.HealthServicer()
        server.add_generic_rpc_handlers((ScalerService(self.recommended).handlers(),))
        health_pb2_grpc.add_HealthServicer_to_server(state, server)
        bound = self._bind(server)
        await self._tell(state)
        await server.start()
        LOGGER.info("the scaler for KEDA listens on %s:%d%s", self.host, bound, " with TLS" if self.tls else "")
        self.bound = bound
        try:
            while self.recommended.leading:
                await asyncio.sleep(LOOK_SECONDS)
                await self._tell(state)
        finally:
            self.bound = None
            await state.enter_graceful_shutdown()
            await server.stop(GRACE_SECONDS)

    def _bind(self, server: grpc.aio.Server) -> int:
        address = f"{self.host}:{self.port}"
        try:
            if self.tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, self.tls.credentials())
        except RuntimeError as error:
            raise OSError(f"the scaler cannot listen on {address}: {error}") from error

    async def _tell(self, state: health.HealthServicer) -> None:
        told = health_pb2.HealthCheckResponse
        status = told.NOT_SERVING if self.recommended.trouble() else told.SERVING
        for service in ("", SERVICE):
            await state.set(service, status)
