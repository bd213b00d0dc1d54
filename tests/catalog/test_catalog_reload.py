"""The operator takes over the rows of a mounted ConfigMap while it runs."""

from __future__ import annotations

import logging

from lab import GPU, plant

from pertoken.adapters.catalog_files import CatalogFolder
from pertoken.catalog.lookup import SHIPPED, Unknown

ROW = (
    "gpus:\n- {{id: {name}, like: h100-sxm, memoryGib: 80, bandwidthGBps: {bandwidth}, tflops: {{bf16: 989}}, "
    "linkGBps: 450, linked: true, source: ours, asOf: 2026-11-01}}\n"
)


def row(name: str, bandwidth: int = 3350) -> str:
    return ROW.format(name=name, bandwidth=bandwidth)


def mount(folder, version, text):
    """As the kubelet does: a new hidden folder, then the link to it is swapped, files link through it."""
    target = folder / f"..{version}"
    target.mkdir()
    (target / "rows.yaml").write_text(text)
    link = folder / "..next"
    link.symlink_to(target.name)
    link.rename(folder / "..data")
    if not (folder / "rows.yaml").is_symlink():
        (folder / "rows.yaml").symlink_to("..data/rows.yaml")


def test_without_a_folder_there_are_the_shipped_rows():
    assert CatalogFolder(None).catalog() is SHIPPED


def test_rows_of_a_changed_config_map_replace_the_earlier_ones(tmp_path):
    folder = CatalogFolder(tmp_path)
    mount(tmp_path, "1", row("first-gpu"))
    first = folder.catalog()

    mount(tmp_path, "2", row("second-one"))
    second = folder.catalog()

    assert first.gpu("first-gpu").id == "first-gpu"
    assert second.gpu("second-one").id == "second-one"
    assert isinstance(second.gpu("first-gpu"), Unknown)


def test_unchanged_files_are_not_read_again(tmp_path):
    folder = CatalogFolder(tmp_path)
    mount(tmp_path, "1", row("first-gpu"))

    assert folder.catalog() is folder.catalog()


def test_a_changed_row_reaches_the_next_plan_of_a_variant_that_was_planned_before(tmp_path):
    folder = CatalogFolder(tmp_path)
    mount(tmp_path, "1", row(GPU, bandwidth=2000))
    fleet = plant(rate=6.0, replicas=2, act=False, catalog=folder.catalog())
    before = fleet.run(60).decisions[0].variants[0].capacity_per_replica

    mount(tmp_path, "2", row(GPU, bandwidth=1000))
    fleet.catalog = folder.catalog()
    after = fleet.step().decisions[0].variants[0].capacity_per_replica

    assert 0 < after < 0.8 * before


def test_what_is_wrong_is_logged_once_and_the_shipped_rows_stay(tmp_path, caplog):
    folder = CatalogFolder(tmp_path)
    mount(tmp_path, "1", "gpus: [{id: x}]\n")
    with caplog.at_level(logging.WARNING):
        folder.catalog()
        catalog = folder.catalog()

    assert len([record for record in caplog.records if "rows.yaml" in record.getMessage()]) == 1
    assert catalog == SHIPPED


def test_a_folder_that_cannot_be_read_is_told_and_the_shipped_rows_stay(tmp_path, caplog):
    folder = CatalogFolder(tmp_path / "nowhere")
    with caplog.at_level(logging.WARNING):
        assert folder.catalog() == SHIPPED

    assert "nowhere: cannot be read" in caplog.text
