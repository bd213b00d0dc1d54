"""GPUs: memory, bandwidth, compute, links, and the fitted efficiencies of the performance model.

Peak rates are the vendors' data-sheet figures (dense, without sparsity); the rows are in `gpu_rows`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """What a GPU's efficiencies rest on."""

    KERNELS = "kernel tables"
    SERVED = "served runs"
    THROUGHPUT = "MLPerf throughput"
    NONE = "no data, wide prior"


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What real kernels reach of a data sheet; the defaults are the means over the fitted GPUs.

    Attributes:
        bandwidth: share of peak memory bandwidth that dense weights are read at.
        kv_bandwidth: the same for the KV cache.
        compute: share of peak dense FLOP/s of large matrix products.
        attention: share of peak dense FLOP/s of prefill attention.
        layer_seconds: overhead per transformer layer and step (launches, small kernels).
        allreduce_seconds: latency of one all-reduce over two GPUs.
        link: share of the link's peak in all-reduces of long prompts.
        expert_bandwidth, expert_compute: as the first and third, for the grouped products of routed experts.
        basis: what they rest on.
    """

    bandwidth: float = 0.817
    kv_bandwidth: float = 0.807
    compute: float = 0.70
    attention: float = 0.55
    layer_seconds: float = 37e-6
    allreduce_seconds: float = 5.3e-6
    link: float = 0.47
    expert_bandwidth: float = 0.80
    expert_compute: float = 0.58
    basis: Basis = Basis.NONE

    @property
    def measured(self) -> bool:
        """Whether latencies or kernels were measured on this GPU."""
        return self.basis in {Basis.KERNELS, Basis.SERVED}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator.

    Attributes:
        id: name used in manifests, e.g. ``h100-sxm``.
        memory_gib: usable memory in GiB as the driver reports it, rounded.
        bandwidth: peak memory bandwidth, bytes per second.
        flops_bf16, flops_fp8, flops_int8, flops_fp4: dense peak, FLOP/s; None where the hardware lacks the type.
        link_bandwidth: bytes per second in one direction between GPUs of a node (NVLink, xGMI, or PCIe).
        linked: whether that link is NVLink or xGMI; tensor parallelism above 2 over PCIe needs observation.
        products: values of the node label ``nvidia.com/gpu.product`` (or AMD's ``amd.com/gpu.product-name``).
        aliases: other spellings.
        source, as_of: where the figures come from.
    """

    id: str
    memory_gib: float
    bandwidth: float
    flops_bf16: float
    flops_fp8: float | None
    flops_int8: float | None
    flops_fp4: float | None
    link_bandwidth: float
    linked: bool
    efficiency: Efficiency = Efficiency()
    products: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    source: str = ""
    as_of: str = "2026-11-23"
