"""A plan with everything that its page can show: two services and pools, all ways to buy, a shortfall, what-ifs."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from pertoken.capacity.answer import answer
from pertoken.capacity.asked import Asked
from pertoken.capacity.history.value import History, ServiceHistory
from pertoken.capacity.purchase.options import Reserved, Spot
from pertoken.capacity.spec import Event, PlanSpec, PoolOffers
from pertoken.capacity.whatif import what_if
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import LatencyObjective, ModelSpec, ServiceSpec, VariantSpec

DAY, HOUR = 24, 3600
START = int(datetime(2026, 2, 20, tzinfo=UTC).timestamp())
END = START + 12 * DAY * HOUR
EVIL = '<script src="https://evil.example/x.js"></script>&"\'<img src=x onerror=alert(1)>'


def service(name, pool, model="meta-llama/Llama-3.1-8B-Instruct"):
    variant = VariantSpec("main", pool, WorkloadRef("apps/v1", "Deployment", "default", name), owned=False)
    key = ServiceKey("default", name)
    return ServiceSpec(key, name, 1, ModelSpec(model, name), (variant,), latency=LatencyObjective(2.0, 0.05))


def past(name, scale):
    hours = np.arange(12 * DAY)
    requests = scale * (1.2 + np.sin(hours / DAY * 2 * np.pi)) * np.random.default_rng(3).lognormal(0, 0.1, len(hours))
    requests[30:33] = np.nan
    return ServiceHistory(name, requests, requests * 900, requests * 150, np.full(len(hours), np.nan))


def question(**changes):
    offers = (
        PoolOffers(
            "h100",
            lead_seconds=14 * DAY * HOUR,
            reserved=(
                (Reserved("month", Decimal("1.40"), 30), None),
                (Reserved(f"soon {EVIL}", Decimal(1), 5), 86400),
            ),
        ),
        PoolOffers(
            "l4", reserved=((Reserved("month", Decimal("0.50"), 30), None),), spot=Spot(Decimal("0.30"), 0.1, 0.4)
        ),
    )
    pools = (
        PoolSpec("h100", "h100-sxm", price_per_gpu_hour=Decimal("2.50"), capacity_gpus=2, committed_gpus=1),
        PoolSpec("l4", "l4", price_per_gpu_hour=Decimal("0.80"), capacity_gpus=500),
    )
    begin = END + DAY * HOUR
    spec = PlanSpec(
        f"spring {EVIL}",
        horizon_days=9,
        events=(Event(f"launch {EVIL}", begin, begin + DAY * HOUR, 1.5),),
        growth_per_month=0.1,
        budget_usd_per_month=Decimal(900),
        offers=offers,
    )
    services = (service("chat", "h100"), service("search", "l4"))
    histories = {f"default/{each.key.name}": past(str(each.key), 300_000.0) for each in services}
    history = History(START, tuple(histories.values()), (f"remark {EVIL}",))
    return replace(Asked(spec, services, pools, history, histories, SHIPPED, resamples=40), **changes)


def answered(asked):
    what_ifs = [what_if(words, asked) for words in ("growth=40%", "gpu=h100:h200-sxm,price=h100:3.00", "slo=0.3")]
    what_ifs[0] = replace(what_ifs[0], words=f"growth=40% {EVIL}")
    return answer(asked, what_ifs, asked.history.end_s)
