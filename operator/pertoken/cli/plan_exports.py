"""`pertoken plan --export`: the plan as patches, printed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from pertoken.capacity.exports.kinds import patch_of
from pertoken.capacity.exports.patch import NoPatch, Patch, Target, amounts_of
from pertoken.capacity.futures import Futures
from pertoken.cli.rendering import refuse

_TARGET: Final = re.compile(
    r"(?P<pool>[^=/]+)=(?P<kind>[A-Za-z]+)/((?P<namespace>[^/:]+)/)?(?P<name>[^/:]+)(:(?P<detail>.+))?"
)


def export_targets(texts: Sequence[str], pools: set[str], mistakes: list[str]) -> list[Target]:
    """What the user names; what cannot be read is added to the mistakes."""
    targets = []
    for text in texts:
        parts = _TARGET.fullmatch(text)
        if parts is None or parts["pool"] not in pools:
            known = ", ".join(sorted(pools))
            mistakes.append(
                f"--export: {text!r}: expected POOL=KIND/[NAMESPACE/]NAME with a pool of the files ({known})"
            )
            continue
        targets.append(
            Target(parts["pool"], parts["kind"], parts["name"], parts["namespace"] or "", parts["detail"] or "")
        )
    return targets


def patches_for(targets: Sequence[Target], futures: Futures, objects: Sequence[Mapping[str, Any]]) -> list[Patch]:
    """All patches, or exit code 2 with a line for each that cannot be made."""
    made = [_patch(target, futures, objects) for target in targets]
    wrong = [f"--export: {each}" for each in made if isinstance(each, NoPatch)]
    if wrong:
        refuse(*wrong)
    return [each for each in made if isinstance(each, Patch)]


def _patch(target: Target, futures: Futures, objects: Sequence[Mapping[str, Any]]) -> Patch | NoPatch:
    pool = futures.pool(target.pool)
    if pool is None:
        return NoPatch(target, f"pool {target.pool} is not in the plan")
    named = next((obj for obj in objects if _is(obj, target)), None)
    return patch_of(target, amounts_of(pool, futures.confidence), named)


def _is(obj: Mapping[str, Any], target: Target) -> bool:
    metadata = obj.get("metadata")
    if obj.get("kind") != target.kind or not isinstance(metadata, Mapping):
        return False
    return bool(metadata.get("name") == target.name and (metadata.get("namespace") or "") == target.namespace)


def export_document(patch: Patch) -> dict[str, Any]:
    """One patch in the plan's document."""
    return {
        "target": str(patch.target),
        "resource": patch.resource,
        "type": patch.type.value,
        "patch": patch.body,
        "why": patch.why,
        "command": patch.command,
    }


def print_patches(patches: Sequence[Patch]) -> None:
    """As YAML documents, each a patch file."""
    for patch in patches:
        print(f"---\n# {patch.target}: {patch.why}\n# {patch.command}")
        print(yaml.safe_dump(patch.body, sort_keys=False), end="")
