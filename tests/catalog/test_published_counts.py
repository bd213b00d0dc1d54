"""Every shipped model against what its publisher says, and cache sizes against the start-up logs of engines."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from pertoken.catalog.lookup import SHIPPED, quantization_of
from pertoken.catalog.model_rows import ROWS
from pertoken.catalog.shipped_models import MODELS
from pertoken.domain.service import Parallelism
from pertoken.performance.coefficients import engine_model
from pertoken.performance.memory import count, kv_bytes_per_token

GIB = 2**30


@pytest.mark.parametrize("model", [model for model in MODELS if model.published], ids=lambda model: model.id)
def test_main_weights_are_within_2_percent_of_the_published_count(model):
    assert model.published.source
    assert model.published.apart < 0.2 * model.published.parameters
    assert count(model).total == pytest.approx(model.published.main, rel=0.02)


def test_every_row_has_a_published_count():
    assert [model.id for model in MODELS if model.published is None] == []


def test_the_data_has_no_row_beside_the_catalogs():
    counts = json.loads((files("pertoken.catalog") / "data" / "published.json").read_text())
    assert set(counts) == {model.id for model in MODELS}


def test_rows_from_a_config_have_a_source_and_nothing_that_is_not_understood():
    configured = MODELS[len(ROWS) :]
    assert len(configured) > 50
    assert all("config.json" in model.source and model.layout for model in configured)
    assert [model.id for model in configured if model.doubts] == []


# GiB of cache on one GPU, the tokens that the engine says it holds, GPUs, bytes of a cached number.
LOGS = {
    "sglang#11309": ("deepseek-ai/DeepSeek-V3.2-Exp", 43.67, 975_424, 8, 1.0),
    "vllm#21348, vLLM": ("Qwen/Qwen3-235B-A22B-FP8", 8.11, 178_880, 4, 2.0),
    "vllm#21348, SGLang": ("Qwen/Qwen3-235B-A22B-FP8", 2 * 8.23, 367_404, 4, 2.0),
    "vllm#10517": ("meta-llama/Llama-3.1-8B-Instruct", 3.81, 1_952 * 16, 1, 2.0),
    "vllm-project/recipes#12": ("Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", 62.0, 262_144, 1, 2.0),
    "vllm#34076": ("Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8", 24.0, 262_144, 1, 2.0),
}


@pytest.mark.parametrize("log", LOGS)
def test_cache_sizes_are_within_3_percent_of_start_up_logs(log):
    """What vLLM says of memory and "GPU KV cache size" or of what "is needed", SGLang of "#tokens, K size, V size"."""
    name, gib, tokens, tensor, width = LOGS[log]
    model = SHIPPED.known_model(name)
    assert gib * GIB / kv_bytes_per_token(model, tensor, width) == pytest.approx(tokens, rel=0.03)


def test_weights_in_8_bits_do_not_make_the_cache_narrow():
    """RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic on one H200: the log says 174,336 tokens (llm-d-benchmark#345)."""
    name = "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"
    model, gpu = SHIPPED.known_model(name), SHIPPED.known_gpu("h200-sxm")
    assert quantization_of(name) == "fp8"
    assert engine_model(model, gpu, Parallelism(), "fp8").kv_capacity == pytest.approx(174_336, rel=0.03)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("google/gemma-3n-E4B-it", "google/gemma-3n-E4B"),
        ("google/gemma-4-31B-it", "google/gemma-4-31B"),
        ("nvidia/Gemma-4-31B-IT-NVFP4", "google/gemma-4-31B"),
        ("moonshotai/Kimi-K3", "moonshotai/Kimi-K3"),
        ("meituan-longcat/LongCat-Flash-Chat", "meituan-longcat/LongCat-Flash"),
        ("XiaomiMiMo/MiMo-V2-Flash", "XiaomiMiMo/MiMo-V2-Flash"),
        ("XiaomiMiMo/MiMo-V2.5", "XiaomiMiMo/MiMo-V2.5"),
        ("LGAI-EXAONE/K-EXAONE-236B-A23B-FP8", "LGAI-EXAONE/K-EXAONE-236B-A23B"),
        ("tencent/Hy3-FP8", "tencent/Hy3"),
        ("meituan-longcat/LongCat-Flash-Lite-FP8", "meituan-longcat/LongCat-Flash-Lite"),
        ("Qwen/Qwen3.5-0.8B-Base", "Qwen/Qwen3.5-0.8B"),
        ("Qwen/Qwen3.5-2B", "Qwen/Qwen3.5-2B"),
        ("stepfun-ai/Step-3.5-Flash", "stepfun-ai/Step-3.7-Flash"),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B"),
        ("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B"),
        ("nvidia/Llama-3_3-Nemotron-Super-49B-v1_5", "nvidia/Llama-3_3-Nemotron-Super-49B-v1"),
        ("MiniMaxAI/MiniMax-M1-80k", "MiniMaxAI/MiniMax-Text-01"),
        ("MiniMaxAI/MiniMax-M3", "MiniMaxAI/MiniMax-M3"),
        ("tiiuae/Falcon-H1-34B-Instruct", "tiiuae/Falcon-H1-34B"),
        ("allenai/OLMo-2-0325-32B-Instruct", "allenai/OLMo-2-0325-32B"),
        ("allenai/Olmo-3-32B-Think", "allenai/Olmo-3-32B"),
        ("LGAI-EXAONE/EXAONE-4.0-32B-FP8", "LGAI-EXAONE/EXAONE-4.0-32B"),
        ("HuggingFaceTB/SmolLM3-3B", "HuggingFaceTB/SmolLM3-3B"),
        ("ibm-granite/granite-4.0-h-tiny", "ibm-granite/granite-4.0-h-tiny"),
        ("ai21labs/AI21-Jamba-Large-1.6", "ai21labs/AI21-Jamba-Large"),
        ("microsoft/Phi-4-mini-instruct", "microsoft/Phi-4-mini"),
        ("baidu/ERNIE-4.5-300B-A47B-PT", "baidu/ERNIE-4.5-300B-A47B"),
        ("tencent/Hunyuan-7B-Instruct", "tencent/Hunyuan-7B"),
        ("zai-org/GLM-5.3-FP8", "zai-org/GLM-5.2"),
        ("Qwen/Qwen3-Omni-30B-A3B-Instruct", "Qwen/Qwen3-30B-A3B"),
        ("Qwen/Qwen3.5-122B-A10B", "Qwen/Qwen3.5-122B-A10B"),
        ("Qwen/Qwen3-Coder-Next", "Qwen/Qwen3-Next-80B-A3B"),
        ("stepfun-ai/step3", "stepfun-ai/step3"),
        ("ai21labs/AI21-Jamba-Mini-1.6", "ai21labs/AI21-Jamba-1.5-Mini"),
        ("mistralai/Mistral-Large-3-675B-Instruct-2512", "mistralai/Mistral-Large-3-675B-2512"),
        ("mistralai/Mistral-Small-4-119B-2603", "mistralai/Mistral-Small-4-119B-2603"),
        ("mistralai/Magistral-Small-2509", "mistralai/Mistral-Small-24B-2501"),
        ("mistralai/Ministral-3-8B-Instruct-2512", "mistralai/Ministral-3-8B-2512"),
    ],
)
def test_families_of_2025_and_2026_are_found(name, row):
    assert SHIPPED.model(name).id == row
