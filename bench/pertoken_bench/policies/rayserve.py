"""Ray Serve's autoscaler by ongoing requests, as in Ray 2.60 (Apache-2.0), written anew from its rules."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pertoken_bench.policies.view import PerVariant, View
from pertoken_bench.policy import Policy

TICK_SECONDS = 5.0  # Ray's loop runs every 0.1 s on a mean over 30 s: ticks of 5 s hit both delays exactly
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class RayServeSettings:
    """`autoscaling_config` with its defaults; the maximum is the variant's (as with ``num_replicas="auto"``)."""

    target: float = 2.0
    look_back: float = 30.0
    up_delay: float = 30.0
    down_delay: float = 600.0
    up_factor: float = 1.0
    down_factor: float = 1.0


def wanted_replicas(running: int, total: float, settings: RayServeSettings) -> int:
    """Replicas for `total` ongoing requests (queued and running everywhere) with `running` replicas (at least 1)."""
    error = total / (settings.target * running)
    factor = settings.up_factor if error >= 1.0 else settings.down_factor
    wanted = ceil(running * (1.0 + (error - 1.0) * factor) - _ROUNDING)
    if ceil(running * error - _ROUNDING) < running and wanted == running:
        wanted -= 1  # a factor below 1 must not hold a replica for ever
    return wanted


@dataclass(slots=True)
class RayServe:
    """The decision that is being delayed: its direction (1, -1, 0) and since when."""

    settings: RayServeSettings = RayServeSettings()
    direction: int = 0
    since: float = 0.0

    def decide(self, now: float, target: int, wanted: int) -> int:
        """Let a decision through once it has stood for the whole delay; a change of direction starts anew."""
        direction = (wanted > target) - (wanted < target)
        if direction != self.direction:
            self.direction, self.since = direction, now
        if direction == 0:
            return target
        delay = self.settings.up_delay if direction > 0 else self.settings.down_delay
        if now - self.since < delay:
            return target
        self.direction = 0
        return wanted

    def desired(self, view: View) -> int | None:
        """One tick. From zero a request brings one replica at once."""
        total = view.in_flight(self.settings.look_back)
        if view.replicas == 0:
            return max(ceil(self.settings.up_factor), view.least) if total > 0 else view.least
        wanted = view.clamp(wanted_replicas(max(view.ready, 1), total, self.settings))
        if wanted == 0 and view.replicas > 1:
            wanted = 1  # zero is reached from one only
        return self.decide(view.now, view.replicas, wanted)


def ray_serve_policy(settings: RayServeSettings) -> Policy:
    """One autoscaler per variant."""
    return PerVariant(TICK_SECONDS, lambda: RayServe(settings))
