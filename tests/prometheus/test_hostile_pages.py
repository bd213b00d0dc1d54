"""Whatever a metrics page says, reading it does not raise, and no figure beyond physics comes through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pertoken.adapters.prometheus import promql, queries
from pertoken.adapters.prometheus.client import Answers
from pertoken.adapters.prometheus.engines import VLLM
from pertoken.adapters.prometheus.plausible import MOST, MOST_OF_SIGNAL
from pertoken.adapters.prometheus.profile import MetricsProfile
from pertoken.adapters.prometheus.promql import Query
from pertoken.adapters.prometheus.source import PrometheusSource
from pertoken.domain.signal import Signal

TEXTS = ("", "a", "NaN", "+Inf", "-Inf", "1e308", "-1", "0", "1", "17", "1e15", "1e400", "²", "9" * 5000, "x" * 100_000)
VALUES = st.one_of(st.sampled_from(TEXTS), st.sampled_from((None, True, [], {}, 1e308, -5, 10**400)), st.floats())
NAMES = (
    "namespace",
    "pod",
    "le",
    "model_name",
    "num_gpu_blocks",
    "block_size",
    "kv_cache_size_tokens",
    "engine",
    "instance",
)
LABELS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from((*TEXTS, "ns", "pod-1")), max_size=8)
PROFILE = MetricsProfile(url="http://127.0.0.1:1")
TAGS = sorted({queries.AGE, queries.SAMPLES, *(promql.tag_of(gauge) for gauge in VLLM.gauge_metrics())})


@st.composite
def series(draw: st.DrawFn) -> Any:
    labels = {promql.TAG: draw(st.sampled_from(TAGS)), **draw(LABELS), "namespace": "ns", "pod": "pod-1"}
    spoilt = draw(st.sampled_from((None, None, None, None, "metric", "label", "value", "all")))
    drawn: dict[str, Any] = {"metric": labels, "value": [1.0, draw(VALUES)]}
    match spoilt:
        case "metric":
            drawn["metric"] = draw(VALUES)
        case "label":
            labels[draw(st.sampled_from(NAMES))] = draw(VALUES)
        case "value":
            drawn["value"] = draw(VALUES)
        case "all":
            return draw(VALUES)
    return drawn


class Hostile:
    """Answers every query with the same text."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def run(self, asked: Sequence[Query]) -> Answers:
        return Answers({query.name: self.result for query in asked}, {}, 0.0)

    def close(self) -> None:
        """Nothing is open."""


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(result=st.one_of(VALUES, st.lists(series(), max_size=20)))
def test_no_answer_raises_and_no_figure_is_beyond_physics(result: Any):
    source = PrometheusSource(PROFILE, Hostile(result))  # type: ignore[arg-type]
    snapshot = source.observe()

    assert snapshot.health.ok
    for pod in snapshot.pods.values():
        assert all(0 <= value <= MOST_OF_SIGNAL[signal] for signal, value in pod.values.items())
        assert all(0 <= total <= MOST for total in pod.counters.values())


def test_every_signal_has_a_bound():
    assert set(MOST_OF_SIGNAL) == set(Signal)
