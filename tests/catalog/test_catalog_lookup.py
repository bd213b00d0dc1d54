import pytest

from pertoken.catalog.architecture import from_config
from pertoken.catalog.engines import graph_ceiling, graph_floor, largest_graph
from pertoken.catalog.gpu_rows import GPUS
from pertoken.catalog.gpus import Basis
from pertoken.catalog.lookup import SHIPPED, Unknown, hides_quantization, quantization_of
from pertoken.catalog.models import Model
from pertoken.catalog.shipped_models import MODELS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a100-sxm-80gb", "a100-sxm-80gb"),
        ("NVIDIA-A100-SXM4-80GB", "a100-sxm-80gb"),
        ("NVIDIA-A100-PCIE-40GB", "a100-pcie-40gb"),
        ("h100_sxm", "h100-sxm"),
        ("H100 SXM 80GB", "h100-sxm"),
        ("NVIDIA-H200", "h200-sxm"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA-L40S", "l40s"),
        ("nvidia-h100-mega-80gb", "h100-sxm"),
        ("nvidia-h100-80gb", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("H100_NVLINK_80GB", "h100-sxm"),
        ("nvidia-tesla-a100", "a100-sxm-40gb"),
        ("nvidia-a100-80gb", "a100-sxm-80gb"),
        ("A100_NVLINK_80GB", "a100-sxm-80gb"),
        ("Tesla-V100-16GB", "v100-sxm-16gb"),
        ("Tesla-V100-SXM2-16GB", "v100-sxm-16gb"),
        ("Tesla-V100-PCIE-32GB", "v100-pcie-32gb"),
        ("nvidia-tesla-v100", "v100-sxm-16gb"),
        ("nvidia-tesla-t4", "t4"),
        ("NVIDIA-GB200-NVL72", "gb200"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-pro-6000"),
        ("NVIDIA-RTX-6000-Ada-Generation", "rtx-6000-ada"),
        ("AMD_Instinct_MI300X_VF", "mi300x"),
        ("AMD-Instinct-MI355X-OAM", "mi355x"),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "h100-sxm-mig-1g.10gb"),
        ("NVIDIA-A100-SXM4-40GB-MIG-3g.20gb", "a100-sxm-40gb-mig-3g.20gb"),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "h100-sxm-mig-3g.40gb"),
        ("NVIDIA-H200-MIG-1g.18gb", "h200-sxm-mig-1g.18gb"),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb.me", "h100-sxm-mig-1g.10gb"),
        ("NVIDIA H100 80GB HBM2e", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA-H100-80GB-HBM3-SHARED", "h100-sxm"),
        ("gpu_8x_h100_sxm5", "h100-sxm"),
        ("gpu_8x_a100_80gb_sxm4", "a100-sxm-80gb"),
        ("gpu_1x_a10", "a10"),
        ("8x-h100-sxm", "h100-sxm"),
        ("GB200_4X", "gb200"),
        ("GH200_480GB", "gh200"),
        ("nvidia-gb300", "gb300"),
        ("NVIDIA-B300-SXM6-AC", "b300-sxm"),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "rtx-pro-6000"),
        ("rtx-pro-server-6000", "rtx-pro-6000"),
        ("RTX_A6000", "rtx-a6000"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA A800 80GB PCIe", "a800-pcie-80gb"),
        ("NVIDIA-H800-PCIe", "h800-pcie"),
        ("NVIDIA-H20-3e", "h20-3e"),
        ("Tesla-V100S-PCIE-32GB", "v100s-pcie-32gb"),
        ("Tesla V100-SXM3-32GB", "v100-sxm-32gb"),
        ("Tesla-T4-SHARED", "t4"),
        ("nvidia-l4", "l4"),
        ("L40S-48GB", "l40s"),
        ("AMD Instinct MI250X / MI250", "mi250"),
        ("AMD_Instinct_MI250X_MI250", "mi250"),
        ("AMD Instinct MI325X OAM", "mi325x"),
        ("AMD_Instinct_MI300A", "mi300a"),
        ("AMD Instinct MI350X", "mi350x"),
        ("Intel(R) Data Center GPU Max 1550", "max-1550"),
        ("Intel(R) Data Center GPU Max 1100", "max-1100"),
        ("Max_1550", "max-1550"),
        ("Intel(R) Arc(TM) Pro B60 Graphics", "arc-pro-b60"),
        ("HL-225", "gaudi-2"),
        ("Gaudi3", "gaudi-3"),
        ("NVIDIA-H100-80GB-HBM3-MIG-2g.20gb-SHARED", "h100-sxm-mig-2g.20gb"),
        ("NVIDIA-B200-MIG-3g.90gb", "b200-sxm-mig-3g.90gb"),
        ("NVIDIA-GB200-MIG-2g.47gb", "gb200-mig-2g.47gb"),
        ("NVIDIA-H100-NVL-MIG-3g.47gb", "h100-nvl-mig-3g.47gb"),
        ("NVIDIA-GH200-480GB-MIG-1g.12gb", "gh200-mig-1g.12gb"),
        ("NVIDIA-A30-MIG-2g.12gb", "a30-mig-2g.12gb"),
        ("NVIDIA-A100-SXM4-40GB-MIG-1c.3g.20gb", "a100-sxm-40gb-mig-3g.20gb"),
    ],
)
def test_gpus_are_found_by_all_their_names(name, expected):
    row = SHIPPED.gpu(name)

    assert not isinstance(row, Unknown)
    assert row.id == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("RedHatAI/Meta-Llama-3.1-70B-Instruct-FP8-dynamic", "meta-llama/Llama-3.1-70B"),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "meta-llama/Llama-3.1-8B"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-30B-A3B"),
        ("Qwen/Qwen3-8B-AWQ", "Qwen/Qwen3-8B"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-v0.3"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistralai/Mixtral-8x7B-v0.1"),
        ("openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("Qwen/Qwen3-8B/", "Qwen/Qwen3-8B"),
        (
            "/home/me/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/9c925d64d727",
            "Qwen/Qwen3-8B",
        ),
        ("/models/hub/models--RedHatAI--Qwen3-8B-FP8-dynamic/snapshots/main/", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8B@main", "Qwen/Qwen3-8B"),
        ("unsloth/Qwen3-8B-unsloth-bnb-4bit", "Qwen/Qwen3-8B"),
        ("unsloth/Qwen3-8B-bnb-4bit", "Qwen/Qwen3-8B"),
        ("cyankiwi/Qwen3-8B-AWQ-4bit", "Qwen/Qwen3-8B"),
        ("Intel/Qwen3-8B-int4-AutoRound", "Qwen/Qwen3-8B"),
        ("mlx-community/Qwen3-8B-4bit", "Qwen/Qwen3-8B"),
        ("mlx-Qwen3-8B-4bit", "Qwen/Qwen3-8B"),
        ("unsloth/Qwen3-8B-GGUF", "Qwen/Qwen3-8B"),
        ("unsloth/Qwen3-8B-GGUF:Q4_K_M", "Qwen/Qwen3-8B"),
        ("hf://Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("s3://bucket/models/Qwen3-8B/", "Qwen/Qwen3-8B"),
        ("/models/Qwen3-8B.Q4_K_M.gguf", "Qwen/Qwen3-8B"),
        ("qwen3:8b", "Qwen/Qwen3-8B"),
        ("x/Qwen3-8B-AutoAWQ", "Qwen/Qwen3-8B"),
        ("nvidia/Qwen3-8B-NVFP4A16", "Qwen/Qwen3-8B"),
    ],
)
def test_models_are_found_by_all_their_names(name, expected):
    row = SHIPPED.model(name)

    assert not isinstance(row, Unknown)
    assert row.id == expected


def test_a_slice_of_a_gpu_has_its_share():
    whole, part = SHIPPED.gpu("h100-sxm"), SHIPPED.gpu("NVIDIA-H100-80GB-HBM3-MIG-3g.40gb")
    assert (part.memory_gib, part.bandwidth) == (whole.memory_gib / 2, whole.bandwidth / 2)
    assert part.flops_bf16 == pytest.approx(whole.flops_bf16 * 3 / 7)
    assert part.efficiency.basis is Basis.NONE


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA-A100X",
        "NVIDIA-A10-24Q",
        "NVIDIA-GeForce-RTX-4090-D",
        "AMD Instinct MI308X",
        "TPU-v5e",
        "p5.48xlarge",
        "A100-SXM4-64GB",
        "NVIDIA-H100-80GB-HBM3-MIG-1g.55gb",
        "nvidia.com/mig-1g.10gb",
        "x" * 9999,
    ],
)
def test_a_gpu_that_is_none_of_them_is_unknown(name):
    assert isinstance(SHIPPED.gpu(name), Unknown)


def test_gguf_files_of_no_stated_type_are_not_taken_for_bf16():
    assert hides_quantization("unsloth/Qwen3-8B-GGUF")
    assert hides_quantization("/cache/models--unsloth--Qwen3-8B-GGUF/snapshots/abc")
    assert not hides_quantization("unsloth/Qwen3-8B-GGUF:Q4_K_M")


def test_unknown_names_come_back_with_close_ones():
    gpu, model = SHIPPED.gpu("h100-sxn"), SHIPPED.model("Qwen/Qwen3-9B")

    assert isinstance(gpu, Unknown)
    assert "h100-sxm" in gpu.close
    assert isinstance(model, Unknown)
    assert "Qwen/Qwen3-8B" in model.close
    assert "; close: Qwen/Qwen3" in str(model)


def test_a_name_like_nothing_has_no_close_ones():
    assert str(SHIPPED.model("zzzzzzzzzzzz")) == "unknown model 'zzzzzzzzzzzz'"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvidia/Llama-3.1-70B-Instruct-FP8", "fp8"),
        ("Qwen/Qwen3-8B-AWQ", "int4"),
        ("x/y-w8a8", "int8"),
        ("nvidia/Llama-3.3-70B-Instruct-NVFP4", "nvfp4"),
        ("meta-llama/Llama-3.1-8B", ""),
        ("unsloth/Qwen3-8B-bnb-4bit", "int4"),
        ("cyankiwi/Qwen3-8B-AWQ-8bit", "w8a16"),
        ("mlx-community/Qwen3-8B-4bit", "int4"),
        ("Intel/Qwen3-8B-int4-AutoRound", "int4"),
        ("unsloth/Qwen3-8B-GGUF:Q4_K_M", "int4"),
        ("unsloth/Qwen3-8B-GGUF:Q8_0", "w8a16"),
        ("Qwen/Qwen3-0.6B-GPTQ-Int8", "w8a16"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "w8a16"),
        ("x/Qwen3-8B-gptq-w8", "w8a16"),
        ("x/Qwen3-8B-Int8-AutoRound", "w8a16"),
        ("x/Qwen3-8B-AWQ-INT8", "w8a16"),
        ("x/Qwen3-8B-int8-wo", "w8a16"),
        ("x/Qwen3-8B-bnb-8bit", "w8a16"),
        ("Qwen/Qwen3-30B-A3B-GPTQ-Int4", "int4"),
        ("Qwen/Qwen3-8B-GPTQ", "int4"),
        ("meituan/DeepSeek-R1-Channel-INT8", "int8"),
        ("neuralmagic/Llama-3.1-8B-Instruct-quantized.w8a8", "int8"),
        ("unsloth/Qwen3-8B-GGUF", ""),
        ("mlx-community/Qwen3-8B-6bit", "w8a16"),
        ("x/Qwen3-8B-SmoothQuant", "int8"),
        ("x/Qwen3-8B-AutoAWQ", "int4"),
        ("nvidia/Qwen3-8B-NVFP4A16", "nvfp4"),
        ("unsloth/gpt-oss-20b-BF16", "fp16"),
        ("x/Qwen3-8B-GGUF:F16", "fp16"),
        ("/cache/models--RedHatAI--Qwen3-8B-FP8-dynamic/snapshots/abc", "fp8"),
    ],
)
def test_quantization_is_read_from_the_id(name, expected):
    assert quantization_of(name) == expected


def test_rows_are_complete_and_names_unique():
    assert len({gpu.id for gpu in GPUS}) == len(GPUS)
    assert len({model.id for model in MODELS}) == len(MODELS)
    assert all(gpu.source and gpu.as_of for gpu in GPUS)
    assert all(SHIPPED.gpu(name).id == gpu.id for gpu in GPUS for name in (gpu.id, *gpu.products, *gpu.aliases))
    assert all(SHIPPED.model(name).id == model.id for model in MODELS for name in (model.id, *model.aliases))


def test_inline_architecture_equals_the_catalog_row():
    row = SHIPPED.model("meta-llama/Llama-3.1-8B")
    facts = (
        ("num_hidden_layers", 32),
        ("hidden_size", 4096),
        ("num_attention_heads", 32),
        ("num_key_value_heads", 8),
        ("intermediate_size", 14336),
        ("vocab_size", 128256),
    )

    model = from_config("mine", facts)

    assert isinstance(model, Model)
    assert (model.layers, model.kv_heads, model.head_dim, model.ffn) == (
        row.layers,
        row.kv_heads,
        row.head_dim,
        row.ffn,
    )


def test_inline_experts_and_latent_attention():
    model = from_config(
        "moe",
        (
            ("num_hidden_layers", 61),
            ("hidden_size", 7168),
            ("num_attention_heads", 128),
            ("intermediate_size", 18432),
            ("moe_intermediate_size", 2048),
            ("n_routed_experts", 256),
            ("num_experts_per_tok", 8),
            ("n_shared_experts", 1),
            ("first_k_dense_replace", 3),
            ("kv_lora_rank", 512),
            ("qk_rope_head_dim", 64),
            ("vocab_size", 129280),
        ),
    )

    assert isinstance(model, Model)
    assert (model.moe_layers, model.kv_latent, model.shared_ffn, model.ffn) == (58, 576, 2048, 18432)


@pytest.mark.parametrize("facts", [(), (("num_hidden_layers", "32"),), (("num_hidden_layers", True),)])
def test_an_incomplete_inline_architecture_is_unknown(facts):
    assert isinstance(from_config("mine", facts), Unknown)


@pytest.mark.parametrize(
    ("batch", "ceiling", "floor"), [(0.3, 1, 1), (3, 4, 2), (9, 16, 8), (249, 256, 248), (900, 512, 512)]
)
def test_graph_sizes(batch, ceiling, floor):
    assert (graph_ceiling(batch), graph_floor(batch)) == (ceiling, floor)


def test_the_largest_graph_is_twice_the_cap_at_most_512():
    assert [largest_graph(cap) for cap in (8, 100, 256, 1024)] == [16, 200, 512, 512]
