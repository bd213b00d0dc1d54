"""Device selectors as people write them, worked out on a device."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.control.cel import MAX_LETTERS, DeviceSubject, literals, matches

A100 = DeviceSubject(
    "gpu.nvidia.com",
    {
        "gpu.nvidia.com": {"type": "gpu", "productName": "NVIDIA A100-SXM4-80GB", "index": 3, "healthy": True},
        "resource.kubernetes.io": {"pcieRoot": "pci0000:00"},
    },
    {"gpu.nvidia.com": {"memory": Decimal(80 * 2**30)}},
)
GPU = 'device.attributes["gpu.nvidia.com"]'


@pytest.mark.parametrize(
    ("expression", "taken"),
    [
        ('device.driver == "gpu.nvidia.com"', True),
        ("device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'", True),
        ("device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'mig'", False),
        ("device.driver == 'gpu.amd.com' && device.attributes['gpu.amd.com'].type == 'gpu'", False),
        ("device.attributes['gpu.amd.com'].type == 'gpu'", False),
        (f"{GPU}.productName.contains('A100')", True),
        (f"{GPU}.productName.startsWith('NVIDIA H')", False),
        (f"{GPU}.productName in ['NVIDIA A100-SXM4-80GB', 'NVIDIA H100 80GB HBM3']", True),
        (f"!({GPU}.productName == 'x') && ({GPU}.type == 'gpu' || {GPU}.type == 'mig')", True),
        (f"{GPU}.index >= 2 && {GPU}.index != 4", True),
        (f"{GPU}.healthy", True),
        (f"!{GPU}.healthy", False),
        ("'pcieRoot' in device.attributes['resource.kubernetes.io']", True),
        ("'numa' in device.attributes['resource.kubernetes.io']", False),
        ("device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('40Gi')) >= 0", True),
        ("device.capacity['gpu.nvidia.com'].memory.isGreaterThan(quantity('80Gi'))", False),
        (f'{GPU}["productName"] == "NVIDIA A100-SXM4-80GB"', True),
        ("  device.driver\n == 'gpu.nvidia.com'\n", True),
        # Not understood: no guess, unless the rest decides.
        (f"{GPU}.productName.matches('A.*')", None),
        (f"{GPU}.productName.matches('A.*') || true", True),
        (f"{GPU}.productName.matches('A.*') && false", False),
        (f"{GPU}.type == 'gpu' ? true : false", None),
        ("device.attributes['gpu.nvidia.com'].cudaDriverVersion.isGreaterThan(semver('12.0.0'))", False),
        (f"{GPU}.index == '3'", None),
        ("", None),
        ("device.driver ==", None),
        ("device", None),
        ("(" * 3000, None),
        ("x" * (MAX_LETTERS + 1), None),
        ("'open", None),
    ],
)
def test_selectors(expression, taken):
    assert matches(expression, A100) is taken


def test_texts_of_an_expression():
    assert literals("device.driver == 'a' && x[\"b\"] == 'it\\'s'") == {"a", "b", "it's"}
    assert literals("'open") == frozenset()


@given(st.text(st.sampled_from("device.attributes['a']\"()&|!=<>,0x \\") | st.characters(), max_size=80))
def test_no_text_whatsoever_raises(expression):
    assert matches(expression, A100) in {True, False, None}
