"""A node's DCGM exporter page, made from the work its engines did."""

from collections.abc import Mapping
from dataclasses import dataclass

from pertoken.catalog.lookup import SHIPPED, Unknown
from pertoken_bench.hardware.step_times import BLOCK_TOKENS, GIB
from pertoken_sandbox.fleet import clock
from pertoken_sandbox.fleet.driver import Activity
from pertoken_sandbox.fleet.metrics_page import labels_text
from pertoken_sandbox.fleet.nodes import EmulatedNode
from pertoken_sandbox.fleet.power import UNKNOWN, WATTS
from pertoken_sandbox.fleet.registry import FleetPod, PodKey, Registry

_WINDOW = 1.0
"""Seconds over which the rates are taken: DCGM samples its profiling counters once a second."""

_FAMILIES = (
    ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %)."),
    ("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB)."),
    ("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB)."),
    ("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W)."),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "Ratio of time the graphics engine is active."),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "Ratio of cycles the tensor (HMMA) pipe is active."),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "Ratio of cycles the device memory interface is active sending or receiving data."),
)
_FREE_MIB = 600.0
"""Memory in use on a GPU without a process (driver)."""


@dataclass(frozen=True)
class _Snapshot:
    at: float
    activity: Activity
    rates: tuple[float, float, float]


class DcgmPages:
    """Renders DCGM pages; keeps each pod's last second of activity."""

    def __init__(self, nodes: Mapping[str, EmulatedNode], registry: Registry) -> None:
        self._nodes = nodes
        self._registry = registry
        self._snapshots: dict[PodKey, _Snapshot] = {}

    def render(self, node_name: str) -> str:
        """The page of one node.

        Raises:
            KeyError: no such node.
        """
        node = self._nodes[node_name]
        rows = [self._device(node, index) for index in range(len(node.gpus))]
        lines = []
        for position, (name, text) in enumerate(_FAMILIES):
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
            lines += [f"{name}{labels} {values[position]:.6g}" for labels, values in rows]
        return "\n".join(lines) + "\n"

    def _device(self, node: EmulatedNode, index: int) -> tuple[str, tuple[float, ...]]:
        holder = node.gpus[index]
        labels = {
            "gpu": str(index),
            "UUID": node.uuid(index),
            "device": f"nvidia{index}",
            "modelName": node.group.product.replace("-", " "),
            "Hostname": node.name,
            "pod": "",
            "namespace": "",
            "container": "",
        }
        total = node.group.memory_gib * 1024
        pod = None
        if holder is not None:
            namespace, _, name = holder.partition("/")
            pod = self._registry.pods.get((namespace, name))
        if pod is None:
            return labels_text(labels), (0, _FREE_MIB, total - _FREE_MIB, UNKNOWN.idle, 0, 0, 0)
        labels.update(pod=pod.name, namespace=pod.namespace, container=pod.container)
        server = pod.server
        if server is None:
            return labels_text(labels), (0, _FREE_MIB, total - _FREE_MIB, UNKNOWN.idle, 0, 0, 0)
        times, config = server.times, server.engine.config
        kv_gib = config.kv_blocks * BLOCK_TOKENS * times.kv_bytes_per_token / GIB
        used = min(total, (times.weights_gib + times.reserve_gib + kv_gib) * 1024)
        busy, tensor, dram = self._rates(pod)
        watts = WATTS.get(times.gpu, UNKNOWN).at(busy, tensor, dram)
        return labels_text(labels), (round(100 * busy), used, total - used, watts, busy, tensor, dram)

    def _rates(self, pod: FleetPod) -> tuple[float, float, float]:
        """Shares of the last second or more: engine active, tensor pipe active, memory interface active."""
        server = pod.server
        if server is None:
            return 0.0, 0.0, 0.0
        now, activity = clock.now(), server.activity
        last = self._snapshots.get(pod.key)
        fresh = Activity(activity.busy_seconds, activity.flops, activity.bytes_read)
        if last is None or last.activity.busy_seconds > fresh.busy_seconds:  # new, or a restarted container
            last = _Snapshot(server.stats.created, Activity(), (0.0, 0.0, 0.0))
        elapsed = now - last.at
        if elapsed < _WINDOW:
            return last.rates
        busy = min(1.0, (fresh.busy_seconds - last.activity.busy_seconds) / elapsed)
        gpu = SHIPPED.gpu(server.times.gpu)
        if isinstance(gpu, Unknown):
            return busy, 0.0, 0.0
        rates = (
            busy,
            min(1.0, (fresh.flops - last.activity.flops) / elapsed / gpu.flops_bf16),
            min(1.0, (fresh.bytes_read - last.activity.bytes_read) / elapsed / gpu.bandwidth),
        )
        self._snapshots[pod.key] = _Snapshot(now, fresh, rates)
        return rates
