"""The real ``vllm serve`` with a tiny model and a worker whose steps take the modelled time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertoken_bench.hardware.step_times import BLOCK_TOKENS
from pertoken_sandbox.conformance.cases import BATCHED_TOKENS, CONTEXT, VOCABULARY, Case
from pertoken_sandbox.conformance.environment import SERVER, SOURCES
from pertoken_sandbox.conformance.steps import SEQUENCES, STEPS_FILE, STRETCH
from pertoken_sandbox.fleet.process import answers
from pertoken_sandbox.processes import ManagedProcess, ProcessCommand, free_ports
from pertoken_sandbox.progress import Progress

READY_SECONDS: Final = 240.0
SERVED_BLOCK_TOKENS: Final = 32  # vLLM's attention on CPUs takes no smaller blocks; a GPU's have 16
WORKER: Final = "pertoken_sandbox.conformance.worker.TimedWorker"

_MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 2 * CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        steps: file with one line per step that the worker ran.
    """

    url: str
    model: str
    steps: Path


def model_folder(folder: Path) -> Path:
    """A two-layer model of which only the shape is given: its weights are random, it has no tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_MODEL, indent=1), encoding="utf-8")
    return folder


def command(case: Case, programs: Path, model: Path, port: int) -> tuple[str, ...]:
    """The command line for a case; one block more than usable, since vLLM keeps a null block."""
    return (
        str(programs / SERVER),
        "serve",
        str(model),
        "--served-model-name=modelled",
        "--host=127.0.0.1",
        f"--port={port}",
        "--dtype=float32",
        "--load-format=dummy",
        "--skip-tokenizer-init",
        "--enforce-eager",
        f"--max-model-len={CONTEXT}",
        f"--block-size={SERVED_BLOCK_TOKENS}",
        f"--num-gpu-blocks-override={case.kv_blocks * BLOCK_TOKENS // SERVED_BLOCK_TOKENS + 1}",
        f"--max-num-seqs={case.max_num_seqs}",
        f"--max-num-batched-tokens={BATCHED_TOKENS}",
        f"--worker-cls={WORKER}",
        "--gpu-memory-utilization=0.2",
        "--disable-uvicorn-access-log",
    )


@contextmanager
def serving(case: Case, programs: Path, state: Path) -> Iterator[Server]:
    """Run the server for one case.

    Raises:
        ProcessFailed: it ended or was not ready in time; the message has the end of its log.
    """
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    steps = state / f"steps-{case.name}.jsonl"
    steps.unlink(missing_ok=True)
    environment = {
        "PYTHONPATH": SOURCES,
        STEPS_FILE: str(steps),
        SEQUENCES: str(case.max_num_seqs),
        STRETCH: str(case.stretch),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    argv = command(case, programs, model_folder(state / "model"), port)
    process = ManagedProcess(ProcessCommand(f"vllm-{case.name}", argv, environment), state)
    try:
        with Progress(f"{case.name}: starting vLLM") as progress:
            process.start()

            def ready() -> bool:
                progress.tick()
                return answers(f"{url}/health")

            process.wait_ready(ready, READY_SECONDS)
        yield Server(url, "modelled", steps)
    finally:
        process.stop()
