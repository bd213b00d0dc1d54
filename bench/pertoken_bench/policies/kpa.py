"""Knative's pod autoscaler (KPA): concurrency over a stable and a panic window. Defaults of `config-autoscaler`.

Source: knative/serving 98e5ef9 (Apache-2.0), written anew from its rules.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil, floor, inf

from pertoken_bench.policies.view import PerVariant, View
from pertoken_bench.policy import Policy

TICK_SECONDS = 2.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class KpaSettings:
    """Knative's knobs.

    Attributes:
        target: requests in flight per pod, `container-concurrency-target-default` (100).
        utilization: share of the target that is aimed at (70 %).
        panic_share: panic window as a share of the stable one.
        panic_threshold: wanted / ready pods that starts a panic.
        delay: `scale-down-delay`, seconds.
        grace: `scale-to-zero-grace-period`, seconds, after a stable window without requests.
    """

    target: float = 100.0
    utilization: float = 0.7
    stable: float = 60.0
    panic_share: float = 0.1
    panic_threshold: float = 2.0
    up_rate: float = 1000.0
    down_rate: float = 2.0
    delay: float = 0.0
    grace: float = 30.0

    @property
    def aim(self) -> float:
        """Requests in flight per pod that are aimed at."""
        return self.target * self.utilization

    @property
    def panic(self) -> float:
        """Panic window in seconds."""
        return self.stable * self.panic_share


@dataclass(slots=True)
class Kpa:
    """The autoscaler's memory of one revision."""

    settings: KpaSettings = KpaSettings()
    panic_since: float | None = None
    most_in_panic: int = 0
    delayed: deque[tuple[float, int]] = field(default_factory=deque)
    idle_since: float | None = None

    def wanted(self, now: float, ready: int, stable: float, panic: float) -> int:
        """One tick, before the revision's bounds and scale to zero.

        Args:
            now: seconds.
            ready: Ready pods.
            stable: mean requests in flight of the whole revision over the stable window.
            panic: the same over the panic window.
        """
        settings = self.settings
        pods = max(1, ready)
        most, least = ceil(settings.up_rate * pods), floor(pods / settings.down_rate)
        by_panic = ceil(panic / settings.aim - _ROUNDING)
        steady = min(max(ceil(stable / settings.aim - _ROUNDING), least), most)
        panicked = min(max(by_panic, least), most)
        over = by_panic / pods >= settings.panic_threshold
        if over:
            if self.panic_since is None:
                self.most_in_panic = 0
            self.panic_since = now
        elif self.panic_since is not None and now - self.panic_since > settings.stable:
            self.panic_since, self.most_in_panic = None, 0
        wanted = steady
        if self.panic_since is not None:
            self.most_in_panic = wanted = max(self.most_in_panic, steady, panicked)
        return self._hold(now, wanted)

    def _hold(self, now: float, wanted: int) -> int:
        delay = self.settings.delay
        if delay <= 0:
            return wanted
        while self.delayed and self.delayed[0][0] <= now - delay:
            self.delayed.popleft()
        self.delayed.append((now, wanted))
        return max(n for _, n in self.delayed)

    def desired(self, view: View) -> int | None:
        """One tick on a variant; a window without data holds."""
        settings = self.settings
        stable, panic = view.in_flight(settings.stable), view.in_flight(settings.panic)
        if not stable < inf or not panic < inf:
            return None
        wanted = self.wanted(view.now, view.ready, stable, panic)
        if stable > 0 or wanted > 0:
            self.idle_since = None
            return view.clamp(max(wanted, 1))
        if self.idle_since is None:
            self.idle_since = view.now
        # `stable` is 0 only once a whole stable window has passed without a request.
        zero = view.now - self.idle_since >= settings.grace
        return view.clamp(0 if zero or view.replicas == 0 else 1)


def kpa_policy(settings: KpaSettings) -> Policy:
    """One KPA per variant."""
    return PerVariant(TICK_SECONDS, lambda: Kpa(settings))
