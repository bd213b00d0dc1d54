"""Releases of the serving engines: which image tags tell the version, and what an engine runs with unless told.

Defaults change between versions and with the GPU's memory, so a row says from which version it was read to hold. An
image that is not the engine's own (``nvcr.io/nvidia/vllm:25.12-py3``, ``registry.example/team/vllm-openai:1.4``) has
tags of its own meaning, and so has a tag with words that no release of the engine has: nothing follows. Who builds
images says the version in ``variants[].engineVersion``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pertoken.catalog.gpus import Gpu

Version = tuple[int, int, int]

VLLM: Final = "vllm"
SGLANG: Final = "sglang"
LLM_D_SIM: Final = "llm-d-inference-sim"
FIRST_DATE_TAG: Final = 20  # 25.12 is a month, not a version: no engine here has reached version 20
# Words that releases of the engines have behind their version, for what they are built.
_BUILD: Final = (
    r"x86_64|amd64|arm64|aarch64|cu\d{1,4}|cuda\d{0,4}|rocm\d{0,4}|ubuntu\d{0,4}|g?b\d{3}|mi\d{3}x?|blackwell"
)
_VERSION: Final = re.compile(
    rf"v?(\d{{1,4}})\.(\d{{1,4}})\.(\d{{1,4}})(?:\.?(?:rc|post)\d{{1,4}})?(?:[-_.](?:{_BUILD}|\d{{1,4}}))*"
)
_STATED: Final = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")


@dataclass(frozen=True, slots=True)
class Release:
    """An engine's own image.

    Attributes:
        engine: whose image it is.
        version: by its tag, or as the user states it; None where neither tells (a digest alone, ``latest``).
        certain: nothing but that version can run. Beside a digest a tag is a remark: the digest is what runs.
    """

    engine: str
    version: Version | None = None
    certain: bool = False

    def __str__(self) -> str:
        name = {VLLM: "vLLM", SGLANG: "SGLang"}.get(self.engine, self.engine)
        return name if self.version is None else f"{name} {'.'.join(map(str, self.version))}"


# Whose image it is, by owner and name: a mirror that keeps both is the engine's own; the name alone is used by others,
# too. Builds for the CPU have defaults of their own and are not listed.
_OWN_IMAGES: Final = (
    (re.compile(r"(?:^|/)vllm/vllm-openai(?:-rocm)?$"), VLLM),
    (re.compile(r"(?:^|/)lmsysorg/sglang$"), SGLANG),
    (re.compile(r"(?:^|/)llm-d/llm-d-inference-sim$"), LLM_D_SIM),
)


def release_of(image: str) -> Release | None:
    """The release that an image's name tells; None for an image that is not an engine's own."""
    plain = image.split("@", 1)[0]
    path, _, last = plain.rpartition("/")
    name, _, tag = last.partition(":")
    whole = f"{path}/{name}" if path else name
    for pattern, engine in _OWN_IMAGES:
        if pattern.search(whole):
            version = version_of(tag)
            return Release(engine, version, certain=version is not None and "@" not in image)
    return None


def stated_release(engine: str, version: str) -> Release | None:
    """The release that a user states; None where nothing, or no version, is stated."""
    match = _STATED.fullmatch(version)
    return None if match is None else Release(engine, (int(match[1]), int(match[2]), int(match[3] or 0)), certain=True)


def version_of(tag: str) -> Version | None:
    """The version that a tag tells; None for dates, words, and builds that no release has."""
    match = _VERSION.fullmatch(tag)
    if match is None or int(match[1]) >= FIRST_DATE_TAG:
        return None
    return int(match[1]), int(match[2]), int(match[3])


@dataclass(frozen=True, slots=True)
class BatchDefaults:
    """What an engine's server takes for one engine process when its command line does not say.

    Attributes:
        since: first version for which the row is known to hold.
        least_gib: memory of the GPU from which on it holds.
        max_sequences, batched_tokens: None where the engine computes it from more than the GPU.
        not_on: GPUs with this in their id are excepted.
        source: where it was read.
    """

    engine: str
    since: Version
    least_gib: float
    max_sequences: int | None
    batched_tokens: int | None
    not_on: str = ""
    source: str = ""


_VLLM_SOURCE: Final = "vllm/engine/arg_utils.py, get_batch_defaults, usage context OPENAI_API_SERVER"
_SGLANG_SOURCE: Final = "sglang/srt/server_args.py; max_running_requests is computed, 2,048 or more"
# The first row that holds is taken: newer versions and larger memory first.
BATCH_DEFAULTS: Final[tuple[BatchDefaults, ...]] = (
    BatchDefaults(VLLM, (0, 28, 0), 160, 1024, 16384, source=f"{_VLLM_SOURCE}; vllm#51726"),
    BatchDefaults(VLLM, (0, 10, 0), 70, 1024, 8192, not_on="a100", source=f"{_VLLM_SOURCE}; vllm#17885"),
    BatchDefaults(VLLM, (0, 10, 0), 0, 256, 2048, source=_VLLM_SOURCE),
    BatchDefaults(SGLANG, (0, 5, 0), 160, None, 16384, source=_SGLANG_SOURCE),
    BatchDefaults(SGLANG, (0, 5, 0), 60, None, 8192, source=_SGLANG_SOURCE),
    BatchDefaults(LLM_D_SIM, (0, 1, 0), 0, 5, None, source="llm-d-inference-sim, docs/configuration.md"),
)


def batch_defaults(release: Release, gpu: Gpu | None) -> BatchDefaults | None:
    """The row that holds for a release on a GPU; None where version or GPU leave it open."""
    if release.version is None:
        return None
    rows = [row for row in BATCH_DEFAULTS if row.engine == release.engine and row.since <= release.version]
    if gpu is None:
        return rows[0] if len(rows) == 1 else None
    for row in rows:
        if gpu.memory_gib >= row.least_gib and not (row.not_on and row.not_on in gpu.id):
            return row
    return None
