"""Efficiencies of GPUs without kernel tables: the fits find what is in the data, and rows say what they rest on."""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace

import pytest

from pertoken.calculators.closed_loop import Clients, closed_loop
from pertoken.calculators.estimate import Deployment
from pertoken.catalog.gpu_rows import GPUS
from pertoken.catalog.gpus import Basis
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism
from pertoken_bench.accuracy.model import other_gpus
from pertoken_bench.accuracy.model.serving import MeasuredRun

B300 = SHIPPED.gpu("b300-sxm")
LLAMA = SHIPPED.model("meta-llama/Llama-3.1-70B")


def run(gpu, clients):
    """A run on hardware that is as `gpu`, recorded for the B300."""
    deployment = Deployment(LLAMA, B300, Parallelism(tensor=2), "fp8", "fp8")
    truth = replace(deployment, gpu=gpu)
    loop = closed_loop(truth.coefficients, truth.serving, truth.share(clients))
    return MeasuredRun(deployment, clients, loop.inter_token, loop.ttft, ("b300",), "vllm")


def test_factors_of_memory_and_arithmetic_are_found_apart():
    truth = other_gpus.scaled(B300, 0.75, 0.9)
    loads = [Clients(n, inputs, 256) for n in (1, 4, 16, 64, 128) for inputs in (256, 1024, 4096)]
    factors = other_gpus.fit_served([run(truth, load) for load in loads for _ in range(4)])
    runs, by_memory, by_compute = factors["b300-sxm"]
    assert runs == 60
    assert by_memory == pytest.approx(0.75, rel=0.05)
    assert by_compute == pytest.approx(0.9, rel=0.1)


def test_few_runs_and_gpus_with_tables_are_left_alone():
    loads = [Clients(n, 256, 256) for n in (1, 4, 16)]
    assert other_gpus.fit_served([run(B300, load) for load in loads]) == {}


def test_throughput_counts_against_gpus_with_tables(tmp_path):
    """The same tuning beyond the model on every GPU is no factor; twice as much on one is, drawn towards 1."""
    file = tmp_path / "measured.csv.gz"
    workload = other_gpus.WORKLOADS["llama2-70b-99"]
    rates = {name: other_gpus._throughput(SHIPPED.gpu(name), workload) for name in ("h100-sxm", "h200-sxm", "mi300x")}
    for times, least, most in ((1.0, 0.99, 1.01), (2.0, 1.3, 1.8)):
        with gzip.open(file, "wt") as out:
            writer = csv.writer(out)
            writer.writerow(("source", "scenario", "model", "gpu", "out_tok_s_per_gpu"))
            for name, rate in rates.items():
                own = 1.45 * rate * (times if name == "mi300x" else 1.0)
                writer.writerow(("MLPerf Inference v5.1", "Offline", "llama2-70b-99", name, f"{own:.3f}"))
        ((workloads, factor),) = [other_gpus.fit_throughput(file)["mi300x"]]
        assert workloads == 1
        assert least < factor < most


def test_each_row_says_what_its_efficiencies_rest_on():
    by_basis = {basis: {gpu.id for gpu in GPUS if gpu.efficiency.basis is basis} for basis in Basis}
    assert by_basis[Basis.KERNELS] == {"h100-sxm", "h200-sxm", "b200-sxm", "a100-sxm-80gb", "l40s"}
    assert by_basis[Basis.SERVED] == {"b300-sxm"}
    assert by_basis[Basis.THROUGHPUT] == {"gb200", "gh200", "rtx-pro-6000", "mi300x", "mi325x"}
    assert {"l4", "t4", "v100-sxm-16gb", "gb300", "mi355x", "gaudi-3"} <= by_basis[Basis.NONE]
    assert all("fit" in gpu.source or "scaled" in gpu.source for gpu in GPUS if gpu.efficiency.basis is not Basis.NONE)
