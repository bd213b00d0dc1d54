"""`pertoken doctor`: pages of engines, and what is said of a cluster, of a Prometheus and of permissions."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pertoken.adapters.prometheus.client import Answers
from pertoken.api.kinds import KINDS
from pertoken.catalog.lookup import SHIPPED
from pertoken.cli.adopt.cluster import ClusterView
from pertoken.cli.doctor import prometheus
from pertoken.cli.doctor.cluster import Account, api_findings, clock_findings, node_findings, permission_findings
from pertoken.cli.doctor.findings import Verdict
from pertoken.cli.doctor.page import page_findings, read_page
from pertoken.cli.main import app
from pertoken.control.facts import node_fact
from pertoken.domain.pool import PoolSpec
from pertoken.ports import NotFound

PAGES = sorted((Path(__file__).parents[1] / "fleet/data/engines").glob("*.prom"))
NOW = 1_800_000_000.0


def verdicts(findings):
    return {finding.subject: finding.verdict for finding in findings}


OLD = {"triton-24.02", "trtllm-1.0", "trtllm-1.2"}  # their newer versions tell what they lack


@pytest.mark.parametrize("path", [path for path in PAGES if path.stem not in OLD], ids=lambda path: path.stem)
def test_pages_of_known_versions_miss_nothing_that_is_needed_and_can_be_mended(path):
    findings = list(page_findings(read_page(path.read_text())))
    engine = path.stem.rpartition("-")[0]
    known = "vllm" if engine.startswith("llm-d") else engine
    assert findings[0].words.startswith(known)
    # llama.cpp and Triton never tell finished requests or prompts; that is said as a warning, not as a mistake.
    assert [str(finding) for finding in findings if finding.verdict is Verdict.BAD] == []


def test_a_dropped_metric_is_missing_and_says_what_that_costs():
    text = (PAGES[0].parent / "vllm-0.16.prom").read_text()
    kept = "\n".join(line for line in text.splitlines() if "prompt_tokens_total" not in line)
    [line] = [f for f in page_findings(read_page(kept)) if f.subject == "prompt tokens per second"]
    assert line.verdict is Verdict.BAD
    assert "no scale-down" in line.words
    assert line.todo


def test_another_programs_page_is_no_engine():
    [line] = page_findings(read_page("# TYPE x counter\nhttp_requests_total 4\n"))
    assert line.verdict is Verdict.BAD
    assert "/metrics" in line.todo


def test_an_engines_own_pod_label_is_a_risk():
    text = 'vllm:num_requests_running{model_name="m",pod="x"} 1\n'
    assert verdicts(page_findings(read_page(text)))["labels"] is Verdict.DOUBT


def test_the_command_reads_a_file_and_its_exit_code_is_the_answer(tmp_path):
    run = CliRunner()
    good = run.invoke(app, ["doctor", str(PAGES[-1])])
    assert good.exit_code == 0, good.output
    bad = tmp_path / "page"
    bad.write_text("up 1\n")
    assert run.invoke(app, ["doctor", str(bad)]).exit_code == 1
    assert run.invoke(app, ["doctor", str(tmp_path / "none")]).exit_code == 2


def node(name, product, gpus=4):
    labels = {"nvidia.com/gpu.product": product} if product else {}
    return node_fact(
        {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}}}
    )


@pytest.mark.parametrize(
    ("nodes", "verdict", "word"),
    [
        ((), Verdict.BAD, "none on 0 nodes"),
        ((node("a", "NVIDIA-L40S"),), Verdict.GOOD, "l40s"),
        ((node("a", "Unheard-Of"),), Verdict.DOUBT, "does not know"),
        ((node("a", ""),), Verdict.DOUBT, "no label tells"),
    ],
)
def test_gpus_of_nodes(nodes, verdict, word):
    [line] = node_findings(ClusterView(nodes=nodes), SHIPPED)
    assert line.verdict is verdict
    assert word in line.words


def test_a_pool_without_a_node_is_missing_and_one_without_a_price_a_warning():
    pool = PoolSpec("p", "l40s", node_selector=(("a", "b"),))
    lines = list(node_findings(ClusterView(nodes=(node("a", "NVIDIA-L40S"),), pools=(pool,)), SHIPPED))[1:]
    assert [line.verdict for line in lines] == [Verdict.BAD, Verdict.DOUBT]
    assert "a=b" in lines[0].words


class Api:
    """Answers as an API server does that refuses some rights."""

    host = "https://api"

    def __init__(self, refused=(), minor="34", crds=True, made="2027-01-15T08:00:00Z") -> None:
        self.refused, self.minor, self.crds, self.made = refused, minor, crds, made
        self.asked = []

    def call(self, request):
        if request.path == "/version":
            return {"major": "1", "minor": self.minor, "gitVersion": f"v1.{self.minor}.0"}
        if request.path.startswith("/apis/serving"):
            if not self.crds:
                raise NotFound("no")
            return {"resources": [{"kind": kind.kind} for kind in KINDS]}
        if request.path.endswith("configmaps"):
            assert request.query == {"dryRun": "All"}
            return {"metadata": {"creationTimestamp": self.made}}
        self.asked.append(request.body)
        attributes = request.body["spec"]["resourceAttributes"]
        return {"status": {"allowed": attributes["resource"] not in self.refused}}


def test_rights_that_are_refused_are_named_once():
    lines = list(permission_findings(Api(refused={"nodes"}), Account()))
    assert [line.verdict for line in lines] == [Verdict.BAD, Verdict.GOOD]
    assert "list/watch nodes" in lines[0].words


def test_rights_of_a_service_account_are_asked_for_that_account():
    api = Api()
    list(permission_findings(api, Account("system:serviceaccount:a:b")))
    assert {body["kind"] for body in api.asked} == {"SubjectAccessReview"}
    assert {body["spec"]["user"] for body in api.asked} == {"system:serviceaccount:a:b"}


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        (Api(), [Verdict.GOOD, Verdict.GOOD]),
        (Api(minor="29"), [Verdict.BAD, Verdict.GOOD]),
        (Api(crds=False), [Verdict.GOOD, Verdict.BAD]),
    ],
)
def test_version_and_kinds(api, expected):
    assert [line.verdict for line in api_findings(api)] == expected


@pytest.mark.parametrize(
    ("now", "verdict"), [(NOW, Verdict.GOOD), (NOW + 60, Verdict.DOUBT), (NOW - 60, Verdict.DOUBT)]
)
def test_the_servers_clock(now, verdict):
    [line] = clock_findings(Api(made="2027-01-15T08:00:00Z"), now)
    assert line.verdict is verdict


def answers(**figures):
    named = {name.replace("_", " "): value for name, value in figures.items()}
    results = {name: [{"metric": {}, "value": [0, str(value)]}] for name, value in named.items()}
    return Answers({**results, "clock": [NOW, str(NOW)]}, {}, 0.1)


@pytest.mark.parametrize(
    ("figures", "subject", "verdict"),
    [
        ({}, "engine metrics", Verdict.BAD),
        ({"vllm_pods": 3}, "vllm metrics", Verdict.GOOD),
        ({"vllm_without_pod": 3}, "vllm metrics", Verdict.BAD),
        ({"vllm_pods": 3, "vllm_age": 90}, "vllm metrics", Verdict.BAD),
        ({"vllm_pods": 3, "vllm_interval": 60}, "vllm metrics", Verdict.DOUBT),
        ({"DCGM_all": 3, "DCGM_pods": 3}, "GPU metrics", Verdict.GOOD),
        ({"DCGM_all": 3, "DCGM_pods": 3, "DCGM_renamed": 3}, "GPU metrics", Verdict.DOUBT),
        ({"DCGM_all": 3}, "GPU metrics", Verdict.DOUBT),
    ],
)
def test_series_and_their_labels(figures, subject, verdict):
    shown = prometheus._Shown(answers(**figures))
    lines = [*prometheus._engines(shown), *prometheus._gpus(shown)]
    assert verdicts(lines)[subject] is verdict


@pytest.mark.parametrize(("now", "verdict"), [(NOW, Verdict.GOOD), (NOW + 30, Verdict.DOUBT)])
def test_prometheus_clock(now, verdict):
    [line] = prometheus._clock(prometheus._Shown(answers()), now)
    assert line.verdict is verdict
