"""Leadership of a process that is sure to be the only one."""

from __future__ import annotations


class Alone:
    """Implements `pertoken.ports.Leadership` without a Lease; `start` and `stop` as the elector has them."""

    term = 1

    def valid(self) -> bool:
        """Always."""
        return True

    def start(self) -> None:
        """Nothing to do: no other process contends."""

    def stop(self) -> None:
        """Nothing to do: no Lease is held."""
