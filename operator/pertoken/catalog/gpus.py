"""GPUs: memory, bandwidth, compute, links, and the four fitted efficiencies of the performance model.

Peak rates are the vendors' data-sheet figures (dense, without sparsity). The efficiencies of rows marked `fitted` were
fitted to aiconfigurator-core 0.12.0 kernel tables (Apache-2.0, vLLM backend, bf16, read 2026-11-23); the others start
from the mean of the fitted ones and are left to calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TERA: Final = 1e12
GIGA: Final = 1e9


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What real kernels reach of a data sheet.

    Attributes:
        bandwidth: share of peak HBM bandwidth.
        compute: share of peak dense FLOP/s of large matrix products.
        layer_seconds: overhead per transformer layer and step (launches, small kernels).
        allreduce_seconds: latency of one all-reduce.
        fitted: fitted to kernel tables; otherwise a start value with a wide prior.
    """

    bandwidth: float = 0.80
    compute: float = 0.65
    layer_seconds: float = 40e-6
    allreduce_seconds: float = 8e-6
    fitted: bool = False


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator.

    Attributes:
        id: name used in manifests, e.g. ``h100-sxm``.
        memory_gib: usable HBM in GiB as CUDA reports it, rounded.
        bandwidth: peak HBM bandwidth, bytes per second.
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
    efficiency: Efficiency
    products: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    source: str = ""
    as_of: str = "2026-11-23"


GPUS: Final[tuple[Gpu, ...]] = (
    Gpu(
        id="h100-sxm",
        memory_gib=80,
        bandwidth=3.35 * TERA,
        flops_bf16=989 * TERA,
        flops_fp8=1979 * TERA,
        flops_int8=1979 * TERA,
        flops_fp4=None,
        link_bandwidth=450 * GIGA,
        linked=True,
        efficiency=Efficiency(0.88, 0.74, 44e-6, 1.7e-6, fitted=True),
        products=("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-SXM5-80GB"),
        aliases=("h100", "h100_sxm", "h100-sxm5", "h100-80gb", "h100 sxm 80gb", "nvidia h100 80gb hbm3"),
        source="NVIDIA H100 data sheet; fit: aiconfigurator-core 0.12.0",
    ),
    Gpu(
        id="h100-pcie",
        memory_gib=80,
        bandwidth=2.0 * TERA,
        flops_bf16=756 * TERA,
        flops_fp8=1513 * TERA,
        flops_int8=1513 * TERA,
        flops_fp4=None,
        link_bandwidth=64 * GIGA,
        linked=False,
        efficiency=Efficiency(0.85, 0.65, 44e-6, 8e-6),
        products=("NVIDIA-H100-PCIe",),
        aliases=("h100_pcie", "h100-pcie-80gb"),
        source="NVIDIA H100 data sheet",
    ),
    Gpu(
        id="h100-nvl",
        memory_gib=94,
        bandwidth=3.9 * TERA,
        flops_bf16=835 * TERA,
        flops_fp8=1671 * TERA,
        flops_int8=1671 * TERA,
        flops_fp4=None,
        link_bandwidth=300 * GIGA,
        linked=True,
        efficiency=Efficiency(0.85, 0.70, 44e-6, 4e-6),
        products=("NVIDIA-H100-NVL",),
        aliases=("h100_nvl",),
        source="NVIDIA H100 NVL data sheet",
    ),
    Gpu(
        id="h200-sxm",
        memory_gib=141,
        bandwidth=4.8 * TERA,
        flops_bf16=989 * TERA,
        flops_fp8=1979 * TERA,
        flops_int8=1979 * TERA,
        flops_fp4=None,
        link_bandwidth=450 * GIGA,
        linked=True,
        efficiency=Efficiency(0.84, 0.75, 43e-6, 2.7e-6, fitted=True),
        products=("NVIDIA-H200", "NVIDIA-H200-SXM5-141GB"),
        aliases=("h200", "h200_sxm", "h200 sxm 141gb", "h200-141gb"),
        source="NVIDIA H200 data sheet; fit: aiconfigurator-core 0.12.0",
    ),
    Gpu(
        id="b200-sxm",
        memory_gib=180,
        bandwidth=7.7 * TERA,
        flops_bf16=2250 * TERA,
        flops_fp8=4500 * TERA,
        flops_int8=4500 * TERA,
        flops_fp4=9000 * TERA,
        link_bandwidth=900 * GIGA,
        linked=True,
        efficiency=Efficiency(0.86, 0.63, 37e-6, 8.8e-6, fitted=True),
        products=("NVIDIA-B200",),
        aliases=("b200", "b200_sxm", "b200 180gb", "b200-180gb"),
        source="NVIDIA DGX B200 data sheet; fit: aiconfigurator-core 0.12.0",
    ),
    Gpu(
        id="b300-sxm",
        memory_gib=268,
        bandwidth=7.7 * TERA,
        flops_bf16=2250 * TERA,
        flops_fp8=4500 * TERA,
        flops_int8=None,
        flops_fp4=13500 * TERA,
        link_bandwidth=900 * GIGA,
        linked=True,
        efficiency=Efficiency(0.86, 0.63, 37e-6, 8.8e-6),
        products=("NVIDIA-B300", "NVIDIA-B300-SXM6-AC"),
        aliases=("b300", "b300_sxm"),
        source="NVIDIA DGX B300 data sheet",
    ),
    Gpu(
        id="gb200",
        memory_gib=185,
        bandwidth=8.0 * TERA,
        flops_bf16=2500 * TERA,
        flops_fp8=5000 * TERA,
        flops_int8=5000 * TERA,
        flops_fp4=10000 * TERA,
        link_bandwidth=900 * GIGA,
        linked=True,
        efficiency=Efficiency(0.86, 0.63, 37e-6, 8.8e-6),
        products=("NVIDIA-GB200",),
        aliases=("gb200-nvl72", "gb200 nvl72", "gb200_sxm"),
        source="NVIDIA GB200 NVL72 data sheet",
    ),
    Gpu(
        id="a100-sxm-80gb",
        memory_gib=80,
        bandwidth=2.039 * TERA,
        flops_bf16=312 * TERA,
        flops_fp8=None,
        flops_int8=624 * TERA,
        flops_fp4=None,
        link_bandwidth=300 * GIGA,
        linked=True,
        efficiency=Efficiency(0.73, 0.78, 53e-6, 8.8e-6, fitted=True),
        products=("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-SXM-80GB"),
        aliases=("a100", "a100_sxm", "a100-sxm", "a100-80gb", "a100-sxm4-80gb", "a100 sxm 80gb", "a100 80gb"),
        source="NVIDIA A100 data sheet; fit: aiconfigurator-core 0.12.0",
    ),
    Gpu(
        id="a100-sxm-40gb",
        memory_gib=40,
        bandwidth=1.555 * TERA,
        flops_bf16=312 * TERA,
        flops_fp8=None,
        flops_int8=624 * TERA,
        flops_fp4=None,
        link_bandwidth=300 * GIGA,
        linked=True,
        efficiency=Efficiency(0.73, 0.78, 53e-6, 8.8e-6),
        products=("NVIDIA-A100-SXM4-40GB",),
        aliases=("a100-sxm4-40gb", "a100 40gb"),
        source="NVIDIA A100 data sheet",
    ),
    Gpu(
        id="a100-pcie-80gb",
        memory_gib=80,
        bandwidth=1.935 * TERA,
        flops_bf16=312 * TERA,
        flops_fp8=None,
        flops_int8=624 * TERA,
        flops_fp4=None,
        link_bandwidth=32 * GIGA,
        linked=False,
        efficiency=Efficiency(0.73, 0.70, 53e-6, 8.8e-6),
        products=("NVIDIA-A100-PCIE-80GB", "NVIDIA-A100-80GB-PCIe"),
        aliases=("a100-80gb-pcie",),
        source="NVIDIA A100 data sheet",
    ),
    Gpu(
        id="a100-pcie-40gb",
        memory_gib=40,
        bandwidth=1.555 * TERA,
        flops_bf16=312 * TERA,
        flops_fp8=None,
        flops_int8=624 * TERA,
        flops_fp4=None,
        link_bandwidth=32 * GIGA,
        linked=False,
        efficiency=Efficiency(0.73, 0.70, 53e-6, 8.8e-6),
        products=("NVIDIA-A100-PCIE-40GB",),
        aliases=("a100_pcie", "a100-pcie"),
        source="NVIDIA A100 data sheet",
    ),
    Gpu(
        id="l40s",
        memory_gib=45,
        bandwidth=0.864 * TERA,
        flops_bf16=362 * TERA,
        flops_fp8=733 * TERA,
        flops_int8=733 * TERA,
        flops_fp4=None,
        link_bandwidth=32 * GIGA,
        linked=False,
        efficiency=Efficiency(0.77, 0.58, 1e-6, 8e-6, fitted=True),
        products=("NVIDIA-L40S",),
        aliases=("l40s 48gb", "l40s-48gb"),
        source="NVIDIA L40S data sheet; fit: aiconfigurator-core 0.12.0",
    ),
    Gpu(
        id="l4",
        memory_gib=22.5,
        bandwidth=0.300 * TERA,
        flops_bf16=121 * TERA,
        flops_fp8=242 * TERA,
        flops_int8=242 * TERA,
        flops_fp4=None,
        link_bandwidth=32 * GIGA,
        linked=False,
        efficiency=Efficiency(),
        products=("NVIDIA-L4",),
        aliases=("l4 24gb", "l4-24gb"),
        source="NVIDIA L4 data sheet",
    ),
    Gpu(
        id="a10g",
        memory_gib=22.5,
        bandwidth=0.600 * TERA,
        flops_bf16=70 * TERA,
        flops_fp8=None,
        flops_int8=140 * TERA,
        flops_fp4=None,
        link_bandwidth=32 * GIGA,
        linked=False,
        efficiency=Efficiency(),
        products=("NVIDIA-A10G",),
        aliases=("a10g-24gb",),
        source="NVIDIA A10G data sheet",
    ),
    Gpu(
        id="a10",
        memory_gib=22.5,
        bandwidth=0.600 * TERA,
        flops_bf16=125 * TERA,
        flops_fp8=None,
        flops_int8=250 * TERA,
        flops_fp4=None,
        link_bandwidth=32 * GIGA,
        linked=False,
        efficiency=Efficiency(),
        products=("NVIDIA-A10",),
        source="NVIDIA A10 data sheet",
    ),
    Gpu(
        id="a30",
        memory_gib=24,
        bandwidth=0.933 * TERA,
        flops_bf16=165 * TERA,
        flops_fp8=None,
        flops_int8=330 * TERA,
        flops_fp4=None,
        link_bandwidth=32 * GIGA,
        linked=False,
        efficiency=Efficiency(),
        products=("NVIDIA-A30",),
        source="NVIDIA A30 data sheet",
    ),
    Gpu(
        id="mi300x",
        memory_gib=192,
        bandwidth=5.3 * TERA,
        flops_bf16=1307 * TERA,
        flops_fp8=2615 * TERA,
        flops_int8=2615 * TERA,
        flops_fp4=None,
        link_bandwidth=448 * GIGA,
        linked=True,
        efficiency=Efficiency(0.70, 0.50, 50e-6, 10e-6),
        products=("AMD_Instinct_MI300X_OAM", "AMD-Instinct-MI300X-OAM"),
        aliases=("mi300x 192gb", "amd-mi300x"),
        source="AMD Instinct MI300X data sheet",
    ),
    Gpu(
        id="mi325x",
        memory_gib=256,
        bandwidth=6.0 * TERA,
        flops_bf16=1307 * TERA,
        flops_fp8=2615 * TERA,
        flops_int8=2615 * TERA,
        flops_fp4=None,
        link_bandwidth=448 * GIGA,
        linked=True,
        efficiency=Efficiency(0.70, 0.50, 50e-6, 10e-6),
        products=("AMD_Instinct_MI325X",),
        aliases=("mi325x 256gb",),
        source="AMD Instinct MI325X data sheet",
    ),
)
