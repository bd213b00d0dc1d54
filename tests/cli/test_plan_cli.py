"""`pertoken plan`: the document that others rely on, and one clear line for each mistake."""

import json
import subprocess
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pertoken.cli.plan import plan_command

HOUR, DAY = 3600, 24
POOL = """
apiVersion: serving.pertoken.dev/v1alpha1
kind: AcceleratorPool
metadata: {{name: {name}}}
spec:
  accelerator: {gpu}
  pricePerGPUHour: "{price}"
  capacity: {{gpus: {gpus}}}
"""
SERVICE = """
apiVersion: serving.pertoken.dev/v1alpha1
kind: InferenceService
metadata: {{name: {name}, namespace: default}}
spec:
  model: {{id: {model}, servedName: {name}}}
  objective:
    latency: {{ttftMilliseconds: 2000, interTokenMilliseconds: 50}}
  variants:
    - name: main
      pool: h100
      maxReplicas: 50
      scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
"""
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def manifests(*names, gpus=64, price="2.50", gpu="h100-sxm", model=LLAMA):
    services = [SERVICE.format(name=name, model=model) for name in names]
    return "---".join([POOL.format(name="h100", gpu=gpu, price=price, gpus=gpus), *services])


def rows(name, days, scale=1.0, seed=0):
    hours = np.arange(days * DAY)
    load = scale * (1.2 + np.sin(hours / DAY * 2 * np.pi)) * np.random.default_rng(seed).lognormal(0, 0.1, len(hours))
    return [f"{h * HOUR},{n:.3f},{n * 900:.1f},{n * 150:.1f},{name}" for h, n in zip(hours, load, strict=True)]


@pytest.fixture
def run(tmp_path):
    app = typer.Typer()
    app.command("plan")(plan_command)

    def call(*args, manifest, history):
        (tmp_path / "m.yaml").write_text(manifest)
        (tmp_path / "h.csv").write_text("\n".join(history) + "\n")
        files = ("-f", str(tmp_path / "m.yaml"), "--history", str(tmp_path / "h.csv"))
        return CliRunner().invoke(app, [*files, "--horizon-days", "2", *args])

    return call


HEADER = "time_s,requests,input_tokens,output_tokens,service"


def test_the_document_has_what_others_rely_on(run):
    history = [HEADER, *rows("chat", 8, 40_000), *rows("code", 8, 9_000, 1)]
    answer = run("-o", "json", manifest=manifests("chat", "code"), history=history)

    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    start = 8 * DAY * HOUR
    for service in document["services"]:
        times = [hour["time_s"] for hour in service["forecast"]]
        assert times == list(range(start, start + 2 * DAY * HOUR, HOUR))
        assert all(0 <= h["p50_tokens_per_s"] <= h["p90_tokens_per_s"] for h in service["forecast"])
        assert 0 < service["backtest"]["wape"] < 0.3
        assert 0.6 < service["backtest"]["p90_coverage"] <= 1
        assert service["backtest"]["p90_coverage_low"] <= service["backtest"]["p90_coverage"]
        assert service["request"] == {
            "input_tokens": pytest.approx(900, 0.001),
            "output_tokens": pytest.approx(150, 0.001),
            "assumed": [],
        }
    seconds = document["services"][0]["forecast"][0]
    assert seconds["p50_tokens_per_s"] == pytest.approx(1050 * seconds["p50_requests_per_s"], rel=1e-3)
    assert [service["name"] for service in document["services"]] == ["chat", "code"]
    (pool,) = document["pools"]
    assert [len(pool["gpus_by_hour"][key]) for key in ("p50", "p90")] == [2 * DAY, 2 * DAY]
    assert pool["peak_gpus"] == max(pool["gpus_by_hour"]["p90"]) > 0
    assert (pool["existing_gpus"], pool["first_shortfall_s"], pool["order_by_s"]) == (64, None, None)
    bought = document["purchase"]
    assert (bought["reserved"], bought["spot"]) == ([], [])
    assert bought["usd_per_month"] == bought["all_on_demand_usd_per_month"] > 0
    assert [entry["pool"] for entry in bought["on_demand"]] == ["h100"]


def test_a_shortfall_is_the_answer_no_with_its_hour(run):
    history = [HEADER, *rows("chat", 8, 400_000)]
    answer = run("-o", "json", manifest=manifests("chat", gpus=1), history=history)

    assert answer.exit_code == 1
    (pool,) = json.loads(answer.stdout)["pools"]
    first = next(hour for hour, gpus in enumerate(pool["gpus_by_hour"]["p90"]) if gpus > 1)
    assert pool["first_shortfall_s"] == 8 * DAY * HOUR + first * HOUR
    assert pool["order_by_s"] <= pool["first_shortfall_s"]
    assert pool["short_gpus"] == pool["peak_gpus"] - 1


def test_the_peak_that_is_bought_is_the_peak_that_is_needed(run):
    """A history that grows: its last weeks, which purchases weigh too, never needed as many GPUs."""
    history = [HEADER, *rows("chat", 8, 400_000)]
    answer = run("-o", "json", "--growth", "300%", manifest=manifests("chat", gpus=500), history=history)

    document = json.loads(answer.stdout)
    (pool,), (bought,) = document["pools"], document["purchase"]["on_demand"]
    assert bought["peak_gpus"] == pool["peak_gpus"] > 1


def test_advice_stands_beside_the_plan(run, tmp_path):
    history = [HEADER, *rows("chat", 8, 4_000_000)]
    model = "meta-llama/Llama-3.1-70B-Instruct"
    manifest = manifests("chat", gpus=500, model=model).replace(
        "      pool: h100\n", "      pool: h100\n      parallelism: {tensor: 4}\n"
    )
    file = tmp_path / "plan.html"
    document = json.loads(run("-o", "json", "--html", str(file), manifest=manifest, history=history).stdout)

    (advice,) = document["advice"]
    best = advice["changes"][0]
    assert (advice["namespace"], advice["service"], advice["variant"]) == ("default", "chat", "main")
    assert "quantization" in best["change"]
    assert best["before"].startswith("bf16")
    assert 0 < best["saved_usd_per_month"] < document["purchase"]["usd_per_month"]
    assert [row["saved_usd_per_month"] for row in advice["changes"]] == sorted(
        (row["saved_usd_per_month"] for row in advice["changes"]), reverse=True
    )
    assert 'data-at="advice.0.changes.0.saved_usd_per_month"' in file.read_text()
    assert f"{best['saved_usd_per_month']:,.2f}" in run(manifest=manifest, history=history).stdout


def test_a_page_is_written_beside_the_answer(run, tmp_path):
    history = [HEADER, *rows("chat", 8, 400_000)]
    file = tmp_path / "plan.html"
    answer = run("-o", "json", "--html", str(file), manifest=manifests("chat", gpus=500), history=history)

    page = file.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert f'value="{json.loads(answer.stdout)["purchase"]["usd_per_month"]}"' in page


def test_a_page_that_cannot_be_written_is_bad_input(run, tmp_path):
    history = [HEADER, *rows("chat", 8, 400_000)]
    answer = run("--html", str(tmp_path / "none" / "plan.html"), manifest=manifests("chat"), history=history)

    assert answer.exit_code == 2
    assert "plan.html: No such file or directory; expected a file that can be written" in answer.output.replace(
        "\n", " "
    )


def test_growth_and_confidence_ask_for_more(run):
    history = [HEADER, *rows("chat", 8, 400_000)]

    def peak(*args):
        answer = run("-o", "json", *args, manifest=manifests("chat", gpus=1000), history=history)
        return json.loads(answer.stdout)["pools"][0]["peak_gpus"]

    usual = peak()
    assert peak("--growth", "100%", "--horizon-days", "28") > 1.3 * usual
    assert peak("--confidence", "99") >= usual >= peak("--confidence", "60")


def test_the_table_names_units_and_what_was_assumed(run):
    history = ["time_s,requests", *(row.rsplit(",", 3)[0] for row in rows("", 8, 40_000))]
    answer = run(manifest=manifests("chat"), history=history)

    assert answer.exit_code == 0, answer.output
    for words in ("tok/s", "GPUs", "P90 held", "USD/month", "history tells no input_tokens, output_tokens", "UTC"):
        assert words in answer.stdout
    assert "taken with 1000 input and 200 output tokens a request" in answer.stdout


PLAN = """
apiVersion: serving.pertoken.dev/v1alpha1
kind: CapacityPlan
metadata: {name: spring}
spec:
  horizonDays: 3
  services: [{namespace: default, name: chat}]
  pools:
    - pool: h100
      reserved: [{name: month, pricePerGPUHour: "1.00", termDays: 30}]
"""


def test_a_capacity_plan_among_the_files_says_what_is_asked_and_bought(run):
    history = [HEADER, *rows("chat", 8, 400_000)]
    manifest = "---".join([manifests("chat", "left-out"), PLAN])
    answer = run("-o", "json", "--horizon-days", "4", manifest=manifest, history=history)

    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["horizon_days"] == 4  # the option goes before the manifest
    assert [service["name"] for service in document["services"]] == ["chat"]
    (reserved,) = document["purchase"]["reserved"]
    assert (reserved["offer"], reserved["term_days"]) == ("month", 30)
    assert document["purchase"]["usd_per_month"] < document["purchase"]["all_on_demand_usd_per_month"]


def test_a_budget_that_breaks_is_the_answer_no(run):
    history = [HEADER, *rows("chat", 8, 400_000)]
    answer = run("-o", "json", "--budget", "100", manifest=manifests("chat"), history=history)

    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["purchase"]["budget"]["fits"] is False


@pytest.mark.parametrize(
    ("what_if", "more"),
    [
        ("demand=2", True),
        ("growth=500%", True),
        ("context=4000", True),
        ("slo=0.4", True),
        ("itl=12", True),
        ("price=5", True),
        ("model=meta-llama/Llama-3.3-70B-Instruct,gpu=b200-sxm", True),
        ("confidence=60", None),
        ("quantization=fp8", False),
        ("quantization=chat:fp8", False),
        ("output=50", False),
        ("price=h100:1.00", False),
        ("gpu=b200-sxm,price=2.50", False),
    ],
)  # fmt: skip
def test_a_what_if_stands_beside_the_plan(run, what_if, more):
    history = [HEADER, *rows("chat", 8, 900_000)]
    answer = run("-o", "json", "--what-if", what_if, manifest=manifests("chat", gpus=500), history=history)

    document = json.loads(answer.stdout)
    (entry,) = document["what_ifs"]
    change = entry["change_usd_per_month"]
    assert (entry["what_if"], entry["unplanned"]) == (what_if, [])
    assert entry["usd_per_month"] == pytest.approx(document["purchase"]["usd_per_month"] + change, abs=0.02)
    if more is not None:
        assert (change > 0) == more, entry


@pytest.mark.parametrize(
    ("what_if", "said"),
    [
        ("colour=red", "'colour=red': expected KEY=VALUE with a key of growth, confidence"),
        ("gpu=abacus", "gpu=abacus: unknown GPU"),
        ("model=acme/none", "model=acme/none: unknown model"),
        ("quantization=fp3", "quantization=fp3: expected one of"),
        ("price=-1", "price=-1: '-1' is negative"),
        ("slo=0", "slo=0: expected a number above 0"),
        ("growth=lots", "growth=lots: expected a share per month"),
    ],
)
def test_a_what_if_that_cannot_be_read_is_one_line(run, what_if, said):
    answer = run("--what-if", what_if, manifest=manifests("chat"), history=GOOD)

    assert answer.exit_code == 2
    assert f"--what-if: {said}" in answer.output
    assert len(answer.output.splitlines()) == 1


GOOD = [HEADER, *rows("chat", 4, 1000)]
LONG = [HEADER, *(f"{hour * HOUR},5,25e9,5,chat" for hour in range(4 * DAY))]


@pytest.mark.parametrize(
    ("args", "manifest", "history", "said"),
    [
        (("--horizon-days", "0"), manifests("chat"), GOOD, "--horizon-days: 0: expected 1 to 366 days"),
        (("--confidence", "100"), manifests("chat"), GOOD, "--confidence: 100: expected above 50 and below 100"),
        (("--growth", "lots"), manifests("chat"), GOOD, "--growth: 'lots': expected a share per month"),
        (("--existing", "l4=3"), manifests("chat"), GOOD, "--existing: 'l4=3': expected POOL=N"),
        (("--gpus-per-node", "h100=0"), manifests("chat"), GOOD, "--gpus-per-node: 'h100=0': expected a whole number"),
        ((), manifests("chat", price="-1"), GOOD, "spec.pricePerGPUHour"),
        ((), manifests("chat", gpu="abacus"), GOOD, "default/chat: variant main: pool: 'abacus': expected a GPU"),
        ((), manifests("chat", model="acme/none"), GOOD, "default/chat: variant main: model.id: 'acme/none'"),
        ((), manifests(), GOOD, "--file: InferenceService: none; expected one or more"),
        ((), manifests("chat", "code"), GOOD, "--history: default/code: no series; expected a series 'code'"),
        ((), manifests("chat"), [*GOOD[:5], "x,1,1,1,chat"], "h.csv:6: time_s: 'x': expected a number"),
        ((), manifests("chat"), GOOD[:20], "default/chat: history: '19 hours': expected 48 or more"),
        ((), manifests("chat"), [], "h.csv:1: header: 'nothing': expected time_s"),
        ((), manifests("chat"), [HEADER], "h.csv:1: no rows; expected bins of a day or more"),
        ((), manifests("chat"), ["a,b", "1,2"], "h.csv:1: header: 'a,b': expected time_s"),
        ((), manifests("chat"), [HEADER, "0,1,2"], "h.csv:2: 3 columns; expected 5"),
        ((), manifests("chat"), [HEADER, "0,nan,1,1,chat"], "h.csv:2: requests: 'nan': expected a number of 0 or more"),
        ((), manifests("chat"), [HEADER, "0,-1,1,1,chat"], "h.csv:2: requests: '-1': expected a number of 0 or more"),
        ((), manifests("chat"), [HEADER, "inf,1,1,1,chat"], "h.csv:2: time_s: 'inf': expected a number of 0 or more"),
        ((), manifests("chat"), [HEADER, "0,1e300,1,1,chat"], "h.csv:2: requests: 1e+300: expected a number up to"),
        ((), manifests("chat"), [HEADER, "1764374400000,1,1,1,chat"], "time_s: 1764374400000: expected seconds up to"),
        ((), manifests("chat"), [*GOOD, "1e10,1,1,1,chat"], "at most 20 years apart"),
        ((), manifests("chat"), [HEADER, "0,1,1,1,chat", "0,1,1,1,chat"], "fewer than two bins; expected a day"),
        ((), manifests("chat"), [HEADER, "9" * 200_000 + ",1,1,1,chat"], "field larger than field limit"),
        ((), manifests("chat"), LONG, "default/chat: mean request: '5e+09 tokens': expected at most 1e+07"),
        (("--budget", "nan"), manifests("chat"), GOOD, "--budget: "),
        (("--horizon-days", "367"), manifests("chat"), GOOD, "--horizon-days: 367: expected 1 to 366 days"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_each_and_exit_code_2(run, args, manifest, history, said):
    answer = run(*args, manifest=manifest, history=history)

    assert answer.exit_code == 2, answer.output
    lines = [line for line in answer.output.splitlines() if line]
    assert len(lines) == 1
    assert said in lines[0]


def test_a_prometheus_that_does_not_answer_is_one_line(tmp_path):
    (tmp_path / "p.yaml").write_text(manifests("chat"))
    app = typer.Typer()
    app.command("plan")(plan_command)
    asked = ["-f", str(tmp_path / "p.yaml"), "--history", "prometheus"]

    without, silent = (
        CliRunner().invoke(app, [*asked, *more]) for more in ((), ("--prometheus-url", "http://127.0.0.1:9"))
    )

    assert (without.exit_code, silent.exit_code) == (2, 2)
    assert without.output.startswith("--prometheus-url: missing; expected http(s)://host")
    assert silent.output.startswith("--history prometheus: http://127.0.0.1:9: no connection")
    assert len(without.output.splitlines()) == len(silent.output.splitlines()) == 1


def test_series_are_named_on_the_command_line(run, tmp_path):
    (tmp_path / "wide.csv").write_text(
        "\n".join(["time_s,a_requests,b_requests", *(f"{h * HOUR},{50 + h % 24},7" for h in range(96))])
    )
    both = (f"--history=code={tmp_path}/wide.csv#a",)
    answer = run(*both, "-o", "json", manifest=manifests("chat", "code"), history=GOOD)

    assert answer.exit_code == 0, answer.output
    assert [service["name"] for service in json.loads(answer.stdout)["services"]] == ["chat", "code"]
    wrong = run(f"--history=code={tmp_path}/wide.csv#c", manifest=manifests("chat", "code"), history=GOOD)
    assert "no series 'c'; expected one of a, b" in wrong.output


def test_patches_are_printed_for_objects_that_the_user_names(run):
    history = [HEADER, *rows("chat", 8)]
    args = ("--export", "h100=NodePool/gpu", "--export", "h100=CapacityBuffer/demo/chat:1", "-o", "json")
    document = json.loads(run(*args, manifest=manifests("chat"), history=history).stdout)

    assert [entry["target"] for entry in document["exports"]] == ["NodePool/gpu", "CapacityBuffer/demo/chat"]
    assert document["exports"][0]["patch"] == {
        "spec": {"limits": {"nvidia.com/gpu": str(document["pools"][0]["peak_gpus"])}}
    }
    table = run(*args[:2], manifest=manifests("chat"), history=history)
    assert "# kubectl patch nodepools.karpenter.sh gpu --type merge --patch-file FILE\nspec:\n" in table.stdout


@pytest.mark.parametrize(
    ("export", "said"),
    [
        ("NodePool/gpu", "expected POOL=KIND/[NAMESPACE/]NAME"),
        ("l4=NodePool/gpu", "with a pool of the files (h100)"),
        ("h100=ClusterQueue/q", "its manifest is needed"),
    ],
)
def test_an_export_that_cannot_be_made_is_bad_input(run, export, said):
    result = run("--export", export, manifest=manifests("chat"), history=[HEADER, *rows("chat", 8)])

    assert result.exit_code == 2
    assert said in result.stderr


def test_without_the_extra_its_name_is_told(tmp_path):
    """The operator's image has neither scipy nor statsforecast."""
    (tmp_path / "m.yaml").write_text(manifests("chat"))
    (tmp_path / "h.csv").write_text("\n".join([HEADER, *rows("chat", 8)]) + "\n")
    hidden = (
        "import sys; sys.modules.update(scipy=None, statsforecast=None); from pertoken.cli.main import main; main()"
    )
    arguments = ("plan", "-f", str(tmp_path / "m.yaml"), "--history", str(tmp_path / "h.csv"))
    done = subprocess.run([sys.executable, "-c", hidden, *arguments], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == "statsforecast: not installed; expected: pip install 'pertoken[plan]'\n"
