"""Turns a pod's command line into an engine, or into the error with which vLLM would exit."""

from dataclasses import dataclass

from pertoken_bench.hardware.step_times import BLOCK_TOKENS, StepTimes, TableMissingError, step_times
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.reference_engine.request import EngineConfig
from pertoken_bench.reference_engine.scheduler import ReferenceEngine
from pertoken_bench.reference_engine.step_clock import StepClock
from pertoken_sandbox.fleet.engine_args import EngineArgs, EngineArgsError, parse_engine_args
from pertoken_sandbox.fleet.metrics_page import MetricsPage, cache_config_labels
from pertoken_sandbox.fleet.stats import EngineStats

_DEFAULT_CONTEXT = 131072


@dataclass(frozen=True)
class Host:
    """Where a replica runs: GPU product label, memory of one GPU (GiB), GPUs held, how the hardware behaves."""

    product: str
    gpu_memory_gib: float
    gpus: int
    truth: Truth
    slow_factor: float = 1.0


@dataclass(frozen=True)
class Launched:
    """A built engine before it serves."""

    args: EngineArgs
    times: StepTimes
    config: EngineConfig
    clock: StepClock

    def serve(self, now: float) -> tuple[ReferenceEngine, EngineStats, MetricsPage]:
        """Begin to serve at ``now`` (epoch s) with empty counters."""
        self.clock.configure(self.config.max_num_seqs, now, enforce_eager=self.args.enforce_eager)
        stats = EngineStats(self.config.max_model_len, self.args.buckets, now)
        labels = cache_config_labels(
            self.config,
            self.args.gpu_memory_utilization,
            self.times.kv_bytes_per_token * self.times.tensor,
        )
        page = MetricsPage(stats, self.args.served_model_name, labels)
        return ReferenceEngine(self.config, self.clock), stats, page


def launch(words: list[str], host: Host, pod_name: str) -> Launched:
    """Build the engine that ``words`` (command and args) ask for.

    Raises:
        EngineArgsError: vLLM would exit at start: bad flags, too few GPUs, no table, no memory for the KV cache.
    """
    args = parse_engine_args(words)
    seqs, tokens = args.limits(host.product, host.gpu_memory_gib)
    if args.tensor_parallel_size > host.gpus:
        raise EngineArgsError(
            f"World size ({args.tensor_parallel_size}) is larger than the number of available GPUs ({host.gpus})",
        )
    try:
        times = step_times(args.model, host.product, args.tensor_parallel_size)
    except TableMissingError as error:
        raise EngineArgsError(str(error)) from error
    blocks = times.kv_blocks(host.gpu_memory_gib, args.gpu_memory_utilization)
    if blocks < 1:
        raise EngineArgsError("No available memory for the cache blocks. Try increasing `gpu_memory_utilization`")
    capacity = blocks * BLOCK_TOKENS
    longest = args.max_model_len or min(_DEFAULT_CONTEXT, capacity)
    if longest > capacity:
        raise EngineArgsError(
            f"the model's max seq len ({longest}) is larger than the KV cache ({capacity} tokens): "
            "increase gpu_memory_utilization or decrease max_model_len",
        )
    config = EngineConfig(seqs, tokens, blocks, longest, args.max_num_active_seqs, args.enable_prefix_caching)
    clock = StepClock(times, host.truth, pod_name, slow_factor=host.slow_factor)
    return Launched(args, times, config, clock)
