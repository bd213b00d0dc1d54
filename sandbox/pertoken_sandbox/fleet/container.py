"""What a kubelet makes of a container's environment and command line."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

Json = dict[str, Any]
ReadConfigMap = Callable[[str], Awaitable[Json | None]]
"""Reads a ConfigMap of the pod's namespace by name; None if there is none."""

GPU_RESOURCE = "nvidia.com/gpu"
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")


class ContainerConfigError(Exception):
    """The container cannot be created yet (``CreateContainerConfigError``)."""


def gpus_of(container: Json) -> int:
    """GPUs that a container asks for."""
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        count = (resources.get(kind) or {}).get(GPU_RESOURCE)
        if count is not None:
            return int(count)
    return 0


def engine_container(pod: Json) -> Json | None:
    """The pod's vLLM container: one that holds GPUs and is called ``engine`` or mentions vllm; None if it has none."""
    for container in pod["spec"]["containers"]:
        words = [container.get("image", ""), *(container.get("command") or []), *(container.get("args") or [])]
        if gpus_of(container) and (container["name"] == "engine" or any("vllm" in word for word in words)):
            return dict(container)
    return None


def expand(text: str, env: dict[str, str]) -> str:
    """Expand ``$(NAME)`` by Kubernetes' rules: unknown names stay as written, ``$$`` is a literal dollar."""

    def replace(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return env.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replace, text)


async def resolve_env(container: Json, pod: Json, read: ReadConfigMap) -> dict[str, str]:
    """The container's environment: ``envFrom`` ConfigMaps first, then ``env`` in order (later names win).

    Raises:
        ContainerConfigError: a required ConfigMap or key is missing.
    """
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        reference = source.get("configMapRef")
        if reference:
            config_map = await read(reference["name"])
            if config_map is None and not reference.get("optional"):
                raise ContainerConfigError(f'configmap "{reference["name"]}" not found')
            prefix = source.get("prefix") or ""
            env.update({prefix + key: value for key, value in ((config_map or {}).get("data") or {}).items()})
    for entry in container.get("env") or []:
        value = await _value(entry, pod, env, read)
        if value is not None:
            env[entry["name"]] = value
    return env


async def _value(entry: Json, pod: Json, env: dict[str, str], read: ReadConfigMap) -> str | None:
    source = entry.get("valueFrom") or {}
    if "configMapKeyRef" in source:
        return await _config_map_key(source["configMapKeyRef"], pod, read)
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    if source:
        return None  # Secrets and resource fields carry nothing the emulation needs
    return expand(entry.get("value") or "", env)


async def _config_map_key(reference: Json, pod: Json, read: ReadConfigMap) -> str | None:
    config_map = await read(reference["name"])
    if config_map is None:
        if reference.get("optional"):
            return None
        raise ContainerConfigError(f'configmap "{reference["name"]}" not found')
    value = (config_map.get("data") or {}).get(reference["key"])
    if value is None and not reference.get("optional"):
        where = f"{pod['metadata']['namespace']}/{reference['name']}"
        raise ContainerConfigError(f"couldn't find key {reference['key']} in ConfigMap {where}")
    return None if value is None else str(value)


def _field(pod: Json, path: str) -> str:
    keyed = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if keyed:
        return str((pod["metadata"].get(keyed.group(1)) or {}).get(keyed.group(2), ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)


async def command_line(container: Json, pod: Json, read: ReadConfigMap) -> list[str]:
    """Command and args with all references expanded.

    Raises:
        ContainerConfigError: a required ConfigMap or key is missing.
    """
    env = await resolve_env(container, pod, read)
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    return [expand(word, env) for word in words]
