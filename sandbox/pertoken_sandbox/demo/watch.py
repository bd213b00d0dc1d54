"""Looks at the running system once a second, and keeps an account that does not rely on the operator's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pertoken_sandbox.demo.record import Happening, LiveSample, Record
from pertoken_sandbox.demo.setting import NAMESPACE, SERVICE
from pertoken_sandbox.demo.stage import Stage, get_json

SECONDS_PER_HOUR = 3600.0
MILLION = 1_000_000.0
_KINDS = {
    "scale_up": "scale-up",
    "scale_down": "scale-down",
    "batch_cap": "cap-start",
    "batch_cap_rollback": "cap-rolled-back",
    "batch_cap_complete": "cap-complete",
    "evict": "evict",
}


@dataclass(slots=True)
class Account:
    """GPU-seconds and tokens since the trace began, from the fleet's own state.

    Attributes:
        price_per_gpu_hour: USD.
        gpu_seconds: of pods that were bound to a node, whatever they did.
        tokens: input and output tokens of finished requests.
    """

    price_per_gpu_hour: float
    gpu_seconds: float = 0.0
    tokens: int = 0
    history: list[tuple[float, float, int]] = field(default_factory=list)

    def add(self, seconds: float, elapsed: float, gpus: int, tokens: int) -> None:
        """One more interval of `elapsed` seconds that ends at `seconds`; `tokens` is the running total."""
        self.gpu_seconds += elapsed * gpus
        self.tokens = tokens
        self.history.append((seconds, self.gpu_seconds, self.tokens))

    def usd(self) -> float:
        """Bill so far."""
        return self.gpu_seconds / SECONDS_PER_HOUR * self.price_per_gpu_hour

    def usd_per_million(self, since: float = 0.0) -> float | None:
        """USD per million tokens after `since` seconds of the run."""
        earlier = [(gpu, tokens) for seconds, gpu, tokens in self.history if seconds <= since]
        gpu_before, tokens_before = earlier[-1] if earlier else (0.0, 0)
        tokens = self.tokens - tokens_before
        if tokens <= 0:
            return None
        usd = (self.gpu_seconds - gpu_before) / SECONDS_PER_HOUR * self.price_per_gpu_hour
        return usd / tokens * MILLION


@dataclass(slots=True)
class Watcher:
    """Takes samples and notes what happens."""

    stage: Stage
    account: Account
    record: Record = field(default_factory=Record)
    reachable: float | None = None
    backlog: int = 0
    cap_message: str = ""
    _seen: set[tuple[int, str]] = field(default_factory=set)

    def look(self, seconds: float, elapsed: float) -> LiveSample:
        """One sample at `seconds` since the trace began; `elapsed` since the last one."""
        clients = get_json(f"{self.stage.fleet_url}/clients?seconds={self.stage.setting.window_seconds:g}")[0]
        state = get_json(f"{self.stage.fleet_url}/state")
        debug = get_json(f"{self.stage.debug_url}/debug/plan")
        pods = [pod for pod in state["pods"] if pod["namespace"] == NAMESPACE and pod["gpus"]]
        self.backlog = clients["backlog"]
        tokens = clients["total"]["input_tokens"] + clients["total"]["output_tokens"]
        self.account.add(seconds, elapsed, sum(len(pod["gpus"]) for pod in pods), tokens)
        decision = _decision(debug)
        self._note(seconds, get_json(f"{self.stage.debug_url}/debug/history"))
        for variant in decision.get("variants", ()):
            self.cap_message = str(variant.get("cap_message", ""))
        self.reachable = (decision.get("cost") or {}).get("reachable") or self.reachable
        sample = _sample(seconds, clients, pods, decision, self.account)
        self.record.samples.append(sample)
        return sample

    def _note(self, seconds: float, history: list[dict[str, Any]]) -> None:
        """Take over what is new: done actions only."""
        for done in history:
            key = (done["cycle"], done["message"])
            if done["result"] != "done" or key in self._seen:
                continue
            self._seen.add(key)
            kind = _KINDS[done["kind"]]
            if kind == "cap-complete" and self._last_cap_kind() == "cap-rolled-back":
                kind = "cap-restored"  # every pod is back on the old value: no completed change
            self.record.happenings.append(Happening(seconds, kind, done["message"]))

    def _last_cap_kind(self) -> str:
        kinds = [each.kind for each in self.record.happenings if each.kind in {"cap-start", "cap-rolled-back"}]
        return kinds[-1] if kinds else ""


def _decision(debug: dict[str, Any]) -> dict[str, Any]:
    for decision in debug.get("decisions", ()):
        service = decision["service"]
        if (service["namespace"], service["name"]) == (NAMESPACE, SERVICE):
            return dict(decision)
    return {}


def _sample(
    seconds: float,
    clients: dict[str, Any],
    pods: list[dict[str, Any]],
    decision: dict[str, Any],
    account: Account,
) -> LiveSample:
    demand = decision.get("demand") or {}
    variant = (decision.get("variants") or [{}])[0]
    return LiveSample(
        seconds=seconds,
        input_tokens_per_second=demand.get("input_tokens_per_second"),
        output_tokens_per_second=demand.get("output_tokens_per_second"),
        bound=len(pods),
        ready=sum(1 for pod in pods if pod["serving"]),
        desired=int(variant.get("desired") or 0),
        cap=variant.get("cap"),
        batch=variant.get("operating_batch"),
        usd_per_million=account.usd_per_million(),
        index=(decision.get("cost") or {}).get("index"),
        ttft_p95=_seconds(clients["ttft_ms"]["p95"]),
        inter_token_p95=_seconds(clients["itl_ms"]["p95"]),
        reason=str(decision.get("reason", "")),
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
