"""The operator takes over the rows of a mounted ConfigMap while it runs."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from pertoken.app import Operator
from pertoken.catalog.lookup import Unknown, find_gpu, use

ROW = (
    "gpus:\n- {{id: {name}, like: h100-sxm, memoryGib: 80, bandwidthGBps: 3350, tflops: {{bf16: 989}}, linkGBps: 450, "
    "linked: true, source: ours, asOf: 2026-11-01}}\n"
)


@pytest.fixture(autouse=True)
def _shipped_catalog_afterwards():
    yield
    use()


def mount(folder, version, text):
    """As the kubelet does: a new hidden folder, then the link to it is swapped, files link through it."""
    data = folder / f"..{version}"
    data.mkdir()
    (data / "rows.yaml").write_text(text)
    link = folder / "..next"
    link.symlink_to(data.name)
    link.rename(folder / "..data")
    if not (folder / "rows.yaml").is_symlink():
        (folder / "rows.yaml").symlink_to("..data/rows.yaml")


def test_rows_of_a_changed_config_map_replace_the_earlier_ones(tmp_path):
    operator = SimpleNamespace(settings=SimpleNamespace(catalog_dir=tmp_path), catalog=None)
    mount(tmp_path, "1", ROW.format(name="first-gpu"))
    Operator._read_catalog(operator)
    assert find_gpu("first-gpu").id == "first-gpu"

    mount(tmp_path, "2", ROW.format(name="second-one"))
    Operator._read_catalog(operator)
    assert find_gpu("second-one").id == "second-one"
    assert isinstance(find_gpu("first-gpu"), Unknown)


def test_what_is_wrong_is_logged_once_and_the_shipped_rows_stay(tmp_path, caplog):
    operator = SimpleNamespace(settings=SimpleNamespace(catalog_dir=tmp_path), catalog=None)
    mount(tmp_path, "1", "gpus: [{id: x}]\n")
    with caplog.at_level(logging.WARNING):
        Operator._read_catalog(operator)
        Operator._read_catalog(operator)

    assert len([record for record in caplog.records if "rows.yaml" in record.getMessage()]) == 1
    assert find_gpu("h100-sxm").id == "h100-sxm"
