"""`pertoken estimate`: its contract with other programs, and its accuracy as they see it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from statistics import median, quantiles

import pytest
import typer
from typer.testing import CliRunner

from pertoken.cli.estimate import estimate_command

ASKED = ["model", "gpu", "tp", "quantization", "batch", "input_tokens", "output_tokens"]
ANSWERED = [
    "prefill_ms",
    "decode_step_ms",
    "ttft_ms",
    "itl_ms",
    "tokens_per_second_per_gpu",
    "kv_capacity_tokens",
    "max_sequences",
    "memory_gib",
    "usd_per_million_input",
    "usd_per_million_output",
    "error",
]
SAMPLE = Path(__file__).parents[1] / "performance" / "data" / "aic_reference_sample.csv"
GOOD = "meta-llama/Llama-3.1-8B,h100-sxm,1,,32,2048,256"


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(estimate_command)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def ask(run, tmp_path):
    def asked(lines, *options):
        path = tmp_path / "asked.csv"
        path.write_text("\n".join([",".join(ASKED), *lines]) + "\n", encoding="utf-8")
        outcome = run("--from-csv", path, "-o", "csv", *options)
        assert outcome.exit_code == 0, outcome.output
        return list(csv.DictReader(io.StringIO(outcome.stdout)))

    return asked


def test_rows_are_repeated_and_the_answers_follow_in_their_order(ask):
    (answer,) = ask([GOOD])

    assert list(answer) == ASKED + ANSWERED
    assert [answer[name] for name in ASKED] == GOOD.split(",")
    assert answer["error"] == answer["usd_per_million_input"] == ""
    assert all(float(answer[name]) > 0 for name in ANSWERED[:8])


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("no-such-model,h100-sxm,1,,32,2048,256", "unknown model 'no-such-model'"),
        ("meta-llama/Llama-3.1-8B,tpu-v9,1,,32,2048,256", "unknown GPU 'tpu-v9'"),
        ("meta-llama/Llama-3.1-8B,h100-sxm,1,fp3,32,2048,256", "quantization: 'fp3'"),
        ("meta-llama/Llama-3.1-8B,h100-sxm,1.5,,32,2048,256", "tp: '1.5'"),
        ("meta-llama/Llama-3.1-8B,h100-sxm,1,,many,2048,256", "batch: 'many'"),
        ("meta-llama/Llama-3.1-8B,h100-sxm,1,,0,2048,256", "batch, input_tokens, output_tokens"),
        ("meta-llama/Llama-3.1-8B,h100-sxm,1,,nan,2048,256", "batch: 'nan'"),
        (",,,,,,", "unknown model ''"),
    ],
)
def test_a_row_that_cannot_be_answered_is_empty_and_says_why_and_the_others_are_answered(ask, line, error):
    wrong, right = ask([line, GOOD])

    assert error in wrong["error"]
    assert {wrong[name] for name in ANSWERED[:-1]} == {""}
    assert right["itl_ms"]


def test_weights_that_do_not_fit_have_no_served_latency(ask):
    (answer,) = ask(["meta-llama/Llama-3.1-70B,l4,1,,1,100,100"])

    assert "exceed each GPU's memory by" in answer["error"]
    assert (answer["itl_ms"], answer["kv_capacity_tokens"], answer["max_sequences"]) == ("", "0", "0")


def test_prices_are_never_assumed(ask):
    own, listed, none = (
        ask([GOOD], *options)[0]["usd_per_million_output"]
        for options in (("--price", "h100=5.90"), ("--list-prices",), ())
    )

    assert none == ""
    assert float(own) == pytest.approx(2 * float(listed), rel=1e-4)  # listed at 2.95


def test_prices_times_tokens_are_the_bill_of_the_replica(ask):
    (answer,) = ask([GOOD], "--price", "h100-sxm=3")
    rate = float(answer["tokens_per_second_per_gpu"]) / 256
    bill = 2048 * float(answer["usd_per_million_input"]) + 256 * float(answer["usd_per_million_output"])

    assert bill / 1e6 * rate == pytest.approx(3 / 3600, rel=1e-4)


def test_the_cache_is_wide_beside_narrow_weights_unless_said(run):
    """VLLM's log of Llama-3.3-70B in fp8 on one H200 has 174,336 tokens."""
    outcome = run("-m", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "-g", "h200", "-q", "fp8", "-o", "json")
    assert json.loads(outcome.stdout)[0]["kv_capacity_tokens"] == pytest.approx(174_336, rel=0.03)


def test_an_eight_bit_cache_holds_twice_as_much(run):
    def capacity(*options):
        outcome = run("-m", "Qwen/Qwen3-32B", "-g", "h200", "-q", "fp8", "-o", "json", *options)
        return json.loads(outcome.stdout)[0]["kv_capacity_tokens"]

    assert capacity("--kv-quantization", "fp8") == pytest.approx(2 * capacity(), rel=1e-3)


def test_a_model_is_read_from_its_config(run, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "num_hidden_layers": 32,
                "hidden_size": 4096,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "intermediate_size": 14336,
                "vocab_size": 128256,
            }
        )
    )
    own = json.loads(run("-m", "mine", "-g", "h100", "--config", config, "-o", "json").stdout)[0]
    known = json.loads(run("-m", "llama-3.1-8b", "-g", "h100", "-o", "json").stdout)[0]

    assert own["itl_ms"] == pytest.approx(known["itl_ms"])


def test_a_catalog_file_adds_gpus_and_models(run, tmp_path):
    rows = tmp_path / "rows.yaml"
    rows.write_text(
        "gpus:\n- {id: h100-lab, like: h100-sxm, memoryGib: 80, bandwidthGBps: 3350, tflops: {bf16: 989}, "
        "linkGBps: 450, linked: true, source: bench of ours, asOf: 2026-11-01}\n"
    )
    outcome = run("-m", "llama-3.1-8b", "-g", "h100-lab", "--catalog", rows, "-o", "json")

    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)[0]["error"] == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--from-csv", "nowhere.csv"), "nowhere.csv: cannot be read"),
        ((), "--model, --gpu: missing"),
        (("-m", "llama-3.1-8b", "-g", "h100", "--price", "h100=cheap"), "--price: 'h100=cheap'"),
        (("-m", "llama-3.1-8b", "-g", "h10000"), "unknown GPU 'h10000'"),
        (("-m", "x", "-g", "h100", "--config", "nowhere.json"), "nowhere.json: cannot be read"),
        (("-m", "llama-3.1-8b", "-g", "h100", "--calibration", "nowhere.json"), "nowhere.json: cannot be read"),
    ],
)
def test_a_question_that_cannot_be_understood_is_one_line_and_exit_2(run, arguments, told):
    outcome = run(*arguments)

    assert outcome.exit_code == 2
    assert told in outcome.stderr
    assert "Traceback" not in outcome.output


def test_missing_columns_are_named(run, tmp_path):
    path = tmp_path / "asked.csv"
    path.write_text("model,gpu\na,b\n")
    outcome = run("--from-csv", path)

    assert outcome.exit_code == 2
    assert "expected also tp, batch, input_tokens, output_tokens" in outcome.stderr


@pytest.mark.parametrize(
    ("column", "truth", "experts", "middle", "tail"),
    [
        ("decode_step_ms", "decode_step_ms_mid", False, 0.04, 0.10),
        ("prefill_ms", "prefill_ms_b1", False, 0.07, 0.16),
        ("kv_capacity_tokens", "kv_capacity_tokens", False, 0.05, 0.16),
        ("decode_step_ms", "decode_step_ms_mid", True, 0.08, 0.24),
        ("prefill_ms", "prefill_ms_b1", True, 0.18, 0.32),
        ("kv_capacity_tokens", "kv_capacity_tokens", True, 0.05, 0.16),
    ],
)
def test_errors_against_kernel_tables(ask, column, truth, experts, middle, tail):
    with SAMPLE.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if bool(row["moe_layout"]) == experts and row[truth]]
    answers = ask([f"{r['model']},{r['gpu']},{r['tp']},,{r['batch']},{r['isl']},{r['osl']}" for r in rows])
    errors = [abs(float(answer[column]) / float(row[truth]) - 1) for row, answer in zip(rows, answers, strict=True)]

    assert len(errors) > 50
    assert median(errors) < middle
    assert quantiles(errors, n=10)[-1] < tail


LLAMA_8B = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
}  # fmt: skip
MODELOPT = {"producer": {"name": "modelopt", "version": "0.33.0"}}


@pytest.mark.parametrize(
    ("scheme", "own", "shown"),
    [
        ({"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}, {}, "(fp8, fp8 cache)"),
        ({"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16}, {}, "(nvfp4, bf16 cache)"),
        ({"quant_algo": None, "kv_cache_quant_algo": "FP8"}, {}, "(bf16, fp8 cache)"),
        ({"quant_algo": "NVFP4"}, {"quantization_config": {"quant_method": "fp8"}}, "(fp8, bf16 cache)"),
    ],
)
def test_modelopts_file_beside_the_config_says_the_quantization(run, tmp_path, scheme, own, shown):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA_8B, **own}))
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({**MODELOPT, "quantization": scheme}))
    answer = run("-m", "mine", "-g", "b200", "--config", tmp_path / "config.json")
    assert f"mine {shown} on b200-sxm" in answer.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "expected a hf_quant_config.json"), ('{"quantization": {"quant_algo": "FP99"}}', "FP99"), ("[]", "list;")],
)
def test_a_modelopt_file_that_cannot_be_read_is_told(run, tmp_path, text, words):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    (tmp_path / "hf_quant_config.json").write_text(text)
    answer = run("-m", "mine", "-g", "b200", "--config", tmp_path / "config.json")
    assert answer.exit_code == 2
    assert words in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
