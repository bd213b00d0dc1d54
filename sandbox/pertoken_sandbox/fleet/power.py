"""Power of the emulated GPUs: NVIDIA data sheets; idle power: typical nvidia-smi readings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Watts:
    """Power draw of one GPU that does nothing, and at most."""

    idle: float
    most: float

    def at(self, busy: float, tensor: float, dram: float) -> float:
        """Watts at these shares of time (0 to 1) with work, with matrix products, with memory traffic."""
        return self.idle + (self.most - self.idle) * min(1.0, 0.25 * busy + 0.55 * tensor + 0.35 * dram)


UNKNOWN: Final = Watts(60.0, 400.0)
WATTS: Final = {
    "a100-sxm-80gb": Watts(62.0, 400.0),
    "h100-sxm": Watts(72.0, 700.0),
    "h200-sxm": Watts(76.0, 700.0),
    "b200-sxm": Watts(140.0, 1000.0),
    "l40s": Watts(35.0, 350.0),
}
