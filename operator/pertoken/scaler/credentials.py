"""The scaler's certificate, read anew when its files change."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import grpc

LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
class CertificateFiles:
    """PEM files of the server's certificate and key, and of the authority whose clients may ask; None lets all."""

    certificate: Path
    key: Path
    client_authority: Path | None = None
    _read: tuple[bytes, ...] = ()

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that every new connection takes from the files as they are then.

        Raises:
            OSError: a file cannot be read.
        """
        self._read = self._contents()
        demand = self.client_authority is not None
        return grpc.dynamic_ssl_server_credentials(_configuration(self._read), self._renewed, demand)

    def _contents(self) -> tuple[bytes, ...]:
        files = (self.key, self.certificate, self.client_authority)
        return tuple(path.read_bytes() for path in files if path is not None)

    def _renewed(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold now, or held before where they cannot be read."""
        try:
            self._read = self._contents()
        except OSError:
            LOGGER.exception("the scaler's certificate cannot be read anew")
        return _configuration(self._read)


def _configuration(contents: tuple[bytes, ...]) -> grpc.ServerCertificateConfiguration:
    key, certificate, *authority = contents
    return grpc.ssl_server_certificate_configuration([(key, certificate)], authority[0] if authority else None)
