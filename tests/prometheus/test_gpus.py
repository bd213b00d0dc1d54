"""A card's power among the pods that hold it: all together draw what the card does."""

import pytest

from pertoken.adapters.prometheus.gpus import shared_power
from pertoken.adapters.prometheus.parse import PodLabels, Sample, Tally
from pertoken.adapters.prometheus.profile import GpuSource
from pertoken.domain.identity import PodKey

LABELS = PodLabels("namespace", "pod")


def draws(watts, pod, card="GPU-0", **labels):
    return Sample({"namespace": "a", "pod": pod, "UUID": card, **labels}, watts)


def mig(watts, pod, number, profile, card="GPU-0"):
    return draws(watts, pod, card, GPU_I_ID=str(number), GPU_I_PROFILE=profile)


@pytest.mark.parametrize(
    ("shown", "shares"),
    [
        ([draws(300, "p"), draws(250, "p", "GPU-1")], {"p": 550}),
        ([draws(70, name, vgpu=str(n)) for n, name in enumerate("pqrs")], dict.fromkeys("pqrs", 17.5)),
        ([draws(70, name) for name in "pqrs"], dict.fromkeys("pqrs", 17.5)),
        ([draws(60, "p", vgpu="0"), draws(60, "p", vgpu="1"), draws(60, "q", vgpu="2")], {"p": 40, "q": 20}),
        ([draws(70, "p"), draws(72, "q")], {"p": 36, "q": 36}),
        ([mig(280, "p", 1, "4g.40gb"), mig(280, "q", 2, "3g.40gb")], {"p": 160, "q": 120}),
        ([mig(280, "p", 1, "1c.3g.40gb"), mig(280, "q", 2, "1g.10gb+me")], {"p": 210, "q": 70}),
        ([draws(300, "p"), mig(300, "p", 1, "3g.40gb"), mig(300, "q", 2, "3g.40gb")], {"p": 150, "q": 150}),
        ([draws(50, "p", "0", Hostname="n1"), draws(90, "q", "0", Hostname="n2")], {"p": 50, "q": 90}),
        ([mig(100, "p", 1, "9999999999g.x"), mig(100, "q", 2, "")], {"p": 50, "q": 50}),
        ([Sample({"namespace": "a", "UUID": "GPU-0"}, 70), draws(70, "p")], {"p": 70}),
        ([], {}),
    ],
)
def test_power_by_pod(shown, shares):
    power = shared_power(shown, GpuSource(), LABELS, Tally())
    assert power == {PodKey("a", pod): pytest.approx(watts) for pod, watts in shares.items()}


def test_cards_go_by_the_labels_of_the_profile():
    shown = [draws(70, name, uuid="GPU-0", node="n") for name in "pq"]
    shown += [draws(70, "r", uuid="GPU-1", node="n")]
    power = shared_power(shown, GpuSource(device="uuid", host="node"), LABELS, Tally())
    assert power == {PodKey("a", "p"): 35, PodKey("a", "q"): 35, PodKey("a", "r"): 70}
