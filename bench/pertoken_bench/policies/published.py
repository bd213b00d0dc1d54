"""A controller that only publishes a number, and the HPA (or ScaledObject) that follows it, as WVA is installed."""

from __future__ import annotations

from dataclasses import dataclass, field

from pertoken.domain.service import Behavior, PolicyType, ScalingPolicy, ScalingRules
from pertoken_bench.policies.hpa import TOLERANCE, Hpa, HpaSettings, by_average
from pertoken_bench.policies.view import View

IDLE_SECONDS = 30.0  # cooldownPeriod of the sample ScaledObject

_TEN_PODS = (ScalingPolicy(PolicyType.PODS, 10, 15),)
SAMPLE_HPA = Behavior(ScalingRules(0, _TEN_PODS), ScalingRules(0, _TEN_PODS))


@dataclass(slots=True)
class Follower:
    """External metric `wva_desired_replicas`, AverageValue 1, one HPA per variant."""

    behavior: Behavior = SAMPLE_HPA
    tolerance: float = TOLERANCE
    published: dict[str, int] = field(default_factory=dict)
    hpas: dict[str, Hpa] = field(default_factory=dict)
    zero_since: dict[str, float] = field(default_factory=dict)

    def sync(self, view: View) -> int:
        """Replicas for the number published last; what has not been published is left alone."""
        name = view.variant.spec.name
        published = self.published.get(name)
        if published is None:
            return view.replicas
        if published > 0 or view.least > 0:
            self.zero_since.pop(name, None)
        elif view.now - self.zero_since.setdefault(name, view.now) >= IDLE_SECONDS:
            return 0
        hpa = self.hpas.setdefault(name, Hpa(HpaSettings(self.behavior, self.tolerance)))
        proposal = by_average(view.replicas, float(published), 1.0, self.tolerance)
        return hpa.sync(view.now, view.replicas, proposal, (view.least, view.most))
