"""Signing in at a Prometheus endpoint with secrets that live in files and may be rotated at any time."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field
from pathlib import Path

from requests import PreparedRequest
from requests.auth import AuthBase

from pertoken.adapters.prometheus.profile import Credentials


class SecretUnreadable(Exception):
    """A secret's file is missing, empty or not text; the message names the file, never its content."""


@dataclass(slots=True)
class SecretFile:
    """A secret in a file, read again when the file changes (mounted secrets are swapped by a symbolic link)."""

    path: Path
    _seen: tuple[int, int, int] | None = None
    _secret: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> str:
        """The current secret without surrounding white space.

        Raises:
            SecretUnreadable: the file cannot be read or holds nothing usable.
        """
        with self._lock:
            try:
                state = self.path.stat()
                seen = (state.st_mtime_ns, state.st_ino, state.st_size)
                if seen != self._seen:
                    self._secret, self._seen = self.path.read_text(encoding="utf-8").strip(), seen
            except OSError as error:
                raise SecretUnreadable(f"cannot read {self.path}: {error.strerror}") from None
            except UnicodeDecodeError:
                raise SecretUnreadable(f"{self.path} is not text") from None
            if not self._secret:
                raise SecretUnreadable(f"{self.path} is empty")
            if "\n" in self._secret or "\r" in self._secret:
                raise SecretUnreadable(f"{self.path} holds more than one line")
            return self._secret


class SignIn(AuthBase):
    """Adds the profile's credentials to every request."""

    def __init__(self, credentials: Credentials) -> None:
        self._username = credentials.username
        self._tenant = credentials.tenant
        self._password = SecretFile(credentials.password_file) if credentials.password_file else None
        self._token = SecretFile(credentials.bearer_token_file) if credentials.bearer_token_file else None

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign one request.

        Raises:
            SecretUnreadable: a secret's file cannot be read.
        """
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token.read()}"
        elif self._password:
            pair = f"{self._username}:{self._password.read()}".encode()
            request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
        if self._tenant:
            request.headers["X-Scope-OrgID"] = self._tenant
        return request
