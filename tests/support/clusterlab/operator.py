"""The operator as a process: started, stopped, paused, asked."""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from clusterlab.audit import OPERATOR_NAMESPACE
from pertoken_sandbox.processes import ManagedProcess, ProcessCommand, free_ports

SETTINGS = {
    "OPERATOR_NAMESPACE": OPERATOR_NAMESPACE,
    "HTTP_HOST": "127.0.0.1",
    "LOG_FORMAT": "json",
    "CYCLE_SECONDS": 1,
    "RESYNC_SECONDS": 20,
    "SCRAPE_INTERVAL_SECONDS": 1,
    "RATE_WINDOW_SECONDS": 5,
    "FRESH_SECONDS": 4,
    "STATUS_SECONDS": 1,
    "CAP_INTERVAL_SECONDS": 5,
    "CANARY_SECONDS": 3,
    "START_SECONDS": 3,
    "BACKLOG_SECONDS": 10,
    "PROMETHEUS_TIMEOUT_SECONDS": 3,
    "METRICS_PROFILES": json.dumps({"default": {"gateway": {"signals": {"held": "proxy_held_requests"}}}}),
}


class OperatorProcess:
    """One operator.

    Args:
        name: its identity in the lease, and name of its log.
        folder: for its log.
        settings: ``KUBECONFIG`` and ``PROMETHEUS_URL`` at least; without the prefix ``PERTOKEN_``, added to `SETTINGS`.
    """

    def __init__(self, name: str, folder: Path, settings: dict[str, Any]) -> None:
        self.name = name
        self._folder = folder
        http, debug = free_ports(2)
        self.settings = {**SETTINGS, "IDENTITY": name, "HTTP_PORT": http, "DEBUG_PORT": debug, **settings}
        self.url = f"http://127.0.0.1:{http}"
        self.debug_url = f"http://127.0.0.1:{debug}"
        self.process = self._made()

    def _made(self) -> ManagedProcess:
        environment = {f"PERTOKEN_{key}": str(value) for key, value in self.settings.items()}
        words = (str(Path(sys.executable).parent / "pertoken"), "run")
        return ManagedProcess(ProcessCommand(self.name, words, environment), self._folder)

    def start(self) -> None:
        """Start it unless it runs."""
        self.process.start()

    def stop(self) -> None:
        """End it in order, as a rollout does: it saves its memory and releases the lease."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()

    def restart(self, **settings: Any) -> None:
        """Stop it in order and start it, perhaps with other settings from now on."""
        self.stop()
        self.settings |= settings
        self.process = self._made()
        self.start()

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.process.resume()

    @property
    def running(self) -> bool:
        """The process lives."""
        return self.process.running

    @property
    def log(self) -> str:
        """Everything that it wrote."""
        return self.process.log.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of ``/metrics``, ``/healthz``, ``/readyz`` or ``/debug/…``; 0 when nothing answers."""
        root = self.debug_url if path.startswith("/debug") else self.url
        try:
            with urllib.request.urlopen(root + path, timeout=5) as answer:  # noqa: S310 - loopback
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def value(self, metric: str, **labels: str) -> float | None:
        """Sum of the operator's own metric over the series with these labels; None when there is none."""
        code, text = self.get("/metrics")
        if code != 200:
            return None
        values = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None

    def cycles(self, outcome: str = "ok") -> int:
        """Cycles that this process finished (``ok``) or lost (``failed``)."""
        return int(self.value("pertoken_cycles_total", outcome=outcome) or 0)

    def plan(self) -> dict[str, Any]:
        """The last plan as ``/debug/plan`` shows it; empty before the first."""
        code, text = self.get("/debug/plan")
        return dict(json.loads(text)) if code == 200 else {}

    def tracebacks(self) -> list[str]:
        """Log lines that hold a traceback."""
        return [line for line in self.log.splitlines() if re.search("Traceback", line)]
