"""GPU names as drivers, clouds and node labels spell them, and slices of multi-instance GPUs (MIG)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from pertoken.catalog.gpus import Basis, Gpu

# Words that say nothing about which GPU it is.
_NOISE: Final = frozenset(
    {
        "ac",
        "amd",
        "ampere",
        "blackwell",
        "center",
        "data",
        "datacenter",
        "dgx",
        "edition",
        "geforce",
        "generation",
        "gpu",
        "graphics",
        "habana",
        "hbm2",
        "hbm2e",
        "hbm3",
        "hbm3e",
        "hf",
        "hgx",
        "hopper",
        "instinct",
        "intel",
        "lovelace",
        "mega",
        "nvidia",
        "nvl36",
        "nvl72",
        "oam",
        "quadro",
        "radeon",
        "server",
        "shared",
        "tesla",
        "ts",
        "vf",
        "workstation",
    }
)
_SAME: Final = {"nvlink": "sxm", "sxm2": "sxm", "sxm3": "sxm", "sxm4": "sxm", "sxm5": "sxm", "sxm6": "sxm"}
_COUNT: Final = re.compile(r"^\d+x-?(?=[a-z])")
_COUNTED: Final = re.compile(r"\d+x")
_MARKS: Final = re.compile(r"\((?:r|tm|c)\)|[®™]")
_MIG: Final = re.compile(r"(?:^|[-_. ])(?:mig-)?(?:\d+c\.)?(\d)g\.(\d{1,3})gb(?:[.+-](?:me|gfx|all))*$")
COMPUTE_SLICES: Final = 7
MEMORY_SLICES: Final = 8


def plain(name: str) -> str:
    """Lower case, hyphens between words."""
    return re.sub(r"[\s_/]+", "-", name.strip().lower())


def gpu_key(name: str) -> str:
    """A GPU's name without vendor, number of GPUs and the device plugin's sharing suffix."""
    text = plain(_MARKS.sub("", name.lower())).removesuffix("-shared").removeprefix("nvidia-")
    return _COUNT.sub("", text)


def bare_key(name: str) -> str:
    """The words of a name that say which GPU it is, in whatever order."""
    text = _COUNT.sub("", plain(_MARKS.sub("", name.lower())).removeprefix("nvidia-")).removeprefix("nvidia.com-")
    text = re.sub(r"(?<=\d)-(?=gb\b)", "", text)
    words = {_SAME.get(word, word) for word in text.split("-") if word not in _NOISE and not _COUNTED.fullmatch(word)}
    return "-".join(sorted(words))


@dataclass(frozen=True, slots=True)
class MigProfile:
    """A MIG profile: `base` is the name of the whole GPU, empty where a resource name has none."""

    base: str
    compute: int
    gigabytes: int


def mig_slice(name: str) -> MigProfile | None:
    """The profile that a name ends in (``…-MIG-3g.40gb``, ``nvidia.com/mig-1g.10gb``); None when there is none."""
    text = plain(name).removesuffix("-shared")
    match = _MIG.search(text)
    if match is None or not 1 <= int(match[1]) <= COMPUTE_SLICES or not int(match[2]):
        return None
    base = re.sub(r"[-.]mig$", "", text[: match.start()]).strip("-.")
    return MigProfile(base, int(match[1]), int(match[2]))


def sliced(gpu: Gpu, cut: MigProfile) -> Gpu | None:
    """The part of a GPU that a profile gives: sevenths of its compute, eighths of its memory and bandwidth.

    None where the GPU has no such profile. NVIDIA's MIG user guide; nothing is fitted, the prior is wide.
    """
    eighths = cut.gigabytes * MEMORY_SLICES / gpu.memory_gib
    memory = next((slices for slices in (1, 2, 4, 8) if abs(eighths - slices) <= _ROUNDING * max(1, slices)), None)
    if memory is None:
        return None
    compute = cut.compute / COMPUTE_SLICES
    part = memory / MEMORY_SLICES
    return replace(
        gpu,
        id=f"{gpu.id}-mig-{cut.compute}g.{cut.gigabytes}gb",
        memory_gib=min(float(cut.gigabytes), gpu.memory_gib * part),
        bandwidth=gpu.bandwidth * part,
        flops_bf16=gpu.flops_bf16 * compute,
        flops_fp8=None if gpu.flops_fp8 is None else gpu.flops_fp8 * compute,
        flops_int8=None if gpu.flops_int8 is None else gpu.flops_int8 * compute,
        flops_fp4=None if gpu.flops_fp4 is None else gpu.flops_fp4 * compute,
        linked=False,
        efficiency=replace(gpu.efficiency, basis=Basis.NONE),
        products=(),
        aliases=(),
        source=f"a slice of {gpu.id}: {cut.compute}/7 of its compute, {memory}/8 of its memory",
    )


_ROUNDING: Final = 0.2
