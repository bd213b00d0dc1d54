"""What the demo plays: model, GPUs, trace, objectives, and how fast the trace's clock runs.

The operator plans with the settings that ship. Only how often it looks follows the trace's clock, see `Setting.pace`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertoken.planner.tuning import Stabilization
from pertoken.settings import Settings

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "demo"
CHART = ROOT / "charts" / "pertoken"
CRDS = ROOT / "crds"
RENDERED_CHART = Path(__file__).with_name("chart.yaml")  # a test keeps it equal to what Helm renders
TRACE = ROOT / "examples" / "traces" / "azure_2023_conv.csv.gz"

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
PRODUCT = "NVIDIA-A100-SXM4-80GB"
GPU = "a100-sxm-80gb"
GPU_MEMORY_GIB = 80.0
NODES = 6
GPUS_PER_NODE = 4
NAMESPACE = "chat-demo"
SERVICE = "chat"
ENDLESS = "chat-goes-on"  # clients of the same service, who play the trace over and over once the run is over
OPERATOR_NAMESPACE = "pertoken-system"
REQUEST_LOG = "requests.jsonl"
TRACE_SECONDS = 3502.0

# With the shipped 15 s between cycles and scrapes, three minutes of the trace would pass between two looks at it.
ON_THE_TRACES_CLOCK = ("cycle_seconds", "scrape_interval_seconds", "rate_window_seconds", "fresh_seconds")


@dataclass(frozen=True, slots=True)
class Setting:
    """One run of the demo.

    Attributes:
        speed: the hour of the trace is played this much faster, so the request rate is that much higher (the GPUs'
            physics stays in real time).
        target_factor: cost target as a share of what a static peak fleet costs on the same trace.
        decode, prefill: by how much the emulated GPUs are slower than the tables measured on real ones.
        image_pull_seconds, load_seconds: cold start of one replica.
        window_seconds: windows in which the static peak fleet keeps the objectives, and of the shown latencies.
        keep: leave everything running at the end.
    """

    speed: float = 12.0
    target_factor: float = 0.88
    decode: float = 1.18
    prefill: float = 1.12
    image_pull_seconds: float = 0.5
    load_seconds: float = 2.5
    window_seconds: float = 20.0
    keep: bool = False

    def fleet(self) -> dict[str, Any]:
        """Configuration of the emulated fleet."""
        return {
            "nodes": [
                {
                    "prefix": "gpu",
                    "count": NODES,
                    "product": PRODUCT,
                    "gpus": GPUS_PER_NODE,
                    "memoryGiB": GPU_MEMORY_GIB,
                }
            ],
            "startup": {"imagePullSeconds": self.image_pull_seconds, "loadSeconds": self.load_seconds, "jitter": 0.15},
            "truth": {"decode": self.decode, "prefill": self.prefill},
            "traffic": [self._traffic(SERVICE), *([{**self._traffic(ENDLESS), "loop": True}] if self.keep else [])],
            "requestLog": REQUEST_LOG,
        }

    def _traffic(self, clients: str) -> dict[str, Any]:
        """Clients of the service, who begin when they are told to."""
        return {
            "namespace": NAMESPACE,
            "service": clients,
            "selector": {"serving.pertoken.dev/service": SERVICE},
            "trace": str(TRACE),
            "model": SERVICE,
            "speed": self.speed,
            "autoStart": False,
        }

    @property
    def length_seconds(self) -> float:
        """How long the trace plays."""
        return TRACE_SECONDS / self.speed

    def pace(self) -> dict[str, float]:
        """The operator's settings, in seconds, that follow the trace's clock: what ships, divided by `speed`."""
        return {name: Settings.model_fields[name].default / self.speed for name in ON_THE_TRACES_CLOCK}

    def scale_down_seconds(self) -> int:
        """How long fewer replicas must have sufficed: what the planner takes until forecasts are proven, / `speed`."""
        return max(1, round(Stabilization().unproven_seconds / self.speed))

    def operator(self, prometheus_url: str, http_port: int, debug_port: int) -> dict[str, str]:
        """The operator's environment: addresses, and `pace`."""
        values = {
            "PROMETHEUS_URL": prometheus_url,
            "OPERATOR_NAMESPACE": OPERATOR_NAMESPACE,
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": http_port,
            "DEBUG_PORT": debug_port,
            "LOG_FORMAT": "json",
            **{name.upper(): seconds for name, seconds in self.pace().items()},
        }
        return {
            f"PERTOKEN_{name}": f"{value:g}" if isinstance(value, float) else str(value)
            for name, value in values.items()
        }
