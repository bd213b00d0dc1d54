"""On MIG instances ``DCGM_FI_DEV_GPU_UTIL`` is 0; a loaded engine that only its GPU shows is not starved by it."""

from __future__ import annotations

import pytest
from clusterlab import adopted

pytestmark = pytest.mark.e2e

BUSY = 0.91


def instance(namespace: str, pod: str, number: int, busy: float) -> str:
    labels = (
        f'{{gpu="0",UUID="GPU-0",GPU_I_ID="{number}",GPU_I_PROFILE="3g.40gb",'
        f'namespace="{namespace}",pod="{pod}",container="engine"}}'
    )
    return f"DCGM_FI_DEV_GPU_UTIL{labels} 0\nDCGM_FI_PROF_GR_ENGINE_ACTIVE{labels} {busy}\n"


def test_busy_mig_instances_are_not_taken_for_idle(lab):
    pool = lab.pool(nodes=[4])
    shown = {"busy": BUSY}

    def exporter() -> str:
        pods = sorted(engine.pod for engine in lab.stack.fleet.pods.engines() if engine.namespace == lab.namespace)
        return "".join(instance(lab.namespace, pod, number, shown["busy"]) for number, pod in enumerate(pods, start=1))

    lab.page("batch", lambda _: "")  # an engine without metrics of its own
    lab.extra_page("dcgm", exporter)
    lab.deployment("batch", pool, 3)
    lab.service("batch", adopted("batch", pool, engine="generic", maxReplicas=4))
    lab.until(lambda: lab.ready("batch") >= 3)

    lab.until(lambda: lab.replicas("batch") == 4, 40, says="GPUs that are busy for 91 % of the time ask for one more")
    writes = [write.body for write in lab.audit(resource="deployments/scale", name="batch")]
    assert all((body.get("spec") or {}).get("replicas", 3) >= 3 for body in writes), writes
    lab.throughout(5, lambda: lab.replicas("batch") == 4, says="utilization 0 of the other metric is not believed")

    shown["busy"] = 0.05

    lab.until(lambda: 0 <= lab.replicas("batch") < 4, 40, says="the profiling metric scales down, too")
