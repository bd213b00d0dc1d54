"""A container of a Deployment, started on the image's root file system as a kubelet and its runtime would.

The pod's specification decides: user, read-only root, capabilities, command, environment, volumes. It gets namespaces
of its own for mounts and processes; its network is the machine's, and seccomp profiles are not applied.
"""

from __future__ import annotations

import base64
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pertoken_sandbox.cluster import Cluster
from pertoken_sandbox.image.layout import Image
from pertoken_sandbox.processes import ProcessCommand

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
DEVICES = ("null", "zero", "random", "urandom")
TOKEN_SECONDS = 3600


class UnsupportedSpec(Exception):
    """The specification asks for something that is not imitated here; the message says what."""


@dataclass(frozen=True)
class StartedPod:
    """What a kubelet knows when it starts a container.

    Attributes:
        name: of the pod.
        namespace: of the pod.
        spec: its specification, with one container.
        settings: what the ConfigMaps of ``envFrom`` hold, by name.
        extra: variables that the machine asks for, such as free ports.
    """

    name: str
    namespace: str
    spec: dict[str, Any]
    settings: dict[str, dict[str, str]]
    extra: dict[str, str] = field(default_factory=dict)


def service_account(cluster: Cluster, pod: StartedPod, folder: Path) -> Path:
    """Fill `folder` with what a pod finds at `SERVICE_ACCOUNT`, readable by its group alone (needs root)."""
    account = pod.spec.get("serviceAccountName", "default")
    config = cluster.kubectl.json("config", "view", "--raw", "--minify", "--flatten")
    authority = config["clusters"][0]["cluster"]["certificate-authority-data"]
    token = cluster.kubectl("create", "token", account, "-n", pod.namespace, f"--duration={TOKEN_SECONDS}s")
    folder.mkdir(parents=True)
    for name, content in {
        "token": token.strip().encode(),
        "ca.crt": base64.b64decode(authority),
        "namespace": pod.namespace.encode(),
    }.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o440)
    return folder


def command(image: Image, rootfs: Path, pod: StartedPod, account: Path) -> ProcessCommand:
    """The container as a process of this machine (needs root to start).

    Args:
        image: the image, for what the specification leaves to it.
        rootfs: its root file system.
        pod: what to run.
        account: folder made by `service_account`.

    Raises:
        Unsupported: the specification asks for something that is not imitated here.
        KeyError: it names a ConfigMap that the pod was not given.
    """
    (container,) = pod.spec["containers"]
    security = {**pod.spec.get("securityContext", {}), **container.get("securityContext", {})}
    root = shlex.quote(str(rootfs))
    environment = [f"{name}={value}" for name, value in _environment(image, pod, container).items()]
    program = [*container.get("command", image.config.get("Entrypoint") or ()), *_arguments(image, container)]
    script = [
        "set -e",
        "mount --make-rprivate /",
        f"mount --bind {root} {root}",
        f"cd {root}",
        "mount -t proc proc proc",
        "mount -t tmpfs -o mode=0755,size=64k tmpfs dev",
        *(f"touch dev/{name}; mount --bind /dev/{name} dev/{name}" for name in DEVICES),
        *_volumes(pod, rootfs, security, account),
        *(["mount -o remount,bind,ro ."] if security.get("readOnlyRootFilesystem") else []),
        shlex.join(["exec", "chroot", ".", *_confined(security), "env", "-i", *environment, *program]),
    ]
    unshare = shutil.which("unshare") or "/usr/bin/unshare"
    return ProcessCommand(
        pod.name, (unshare, "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(script))
    )


def _arguments(image: Image, container: dict[str, Any]) -> list[str]:
    """The image's arguments count only where the specification replaces neither them nor the program."""
    return list(container.get("args", () if "command" in container else image.config.get("Cmd") or ()))


def _environment(image: Image, pod: StartedPod, container: dict[str, Any]) -> dict[str, str]:
    """Of the image, then of the specification's ConfigMaps, then its own variables."""
    environment = dict(line.split("=", 1) for line in image.config.get("Env", ()))
    for source in container.get("envFrom", ()):
        environment |= pod.settings[source["configMapRef"]["name"]]
    for variable in container.get("env", ()):
        environment[variable["name"]] = variable["value"] if "value" in variable else _field(pod, variable["valueFrom"])
    return environment | pod.extra


def _field(pod: StartedPod, source: dict[str, Any]) -> str:
    known = {"metadata.name": pod.name, "metadata.namespace": pod.namespace}
    path = source.get("fieldRef", {}).get("fieldPath")
    if path not in known:
        raise UnsupportedSpec(f"env valueFrom {source}: expected one of {', '.join(known)}")
    return known[path]


def _volumes(pod: StartedPod, rootfs: Path, security: dict[str, Any], account: Path) -> list[str]:
    """Lines that mount what the container asks for, and the service account's token."""
    group = security.get("fsGroup", 0)
    (container,) = pod.spec["containers"]
    source, target = shlex.quote(str(account)), _mount_point(rootfs, SERVICE_ACCOUNT)
    lines = [f"chgrp -R {group} {source}", f"mount --bind {source} {target}", f"mount -o remount,bind,ro {target}"]
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", ())}
    for mount in container.get("volumeMounts", ()):
        volume = volumes[mount["name"]]
        if "emptyDir" not in volume:
            raise UnsupportedSpec(f"volume {volume}: expected emptyDir")
        lines.append(f"mount -t tmpfs -o mode=2777,gid={group} tmpfs {_mount_point(rootfs, mount['mountPath'])}")
    return lines


def _mount_point(rootfs: Path, path: str) -> str:
    """The folder's place in the root file system, made and quoted; its links (``/var/run``) are followed inside it."""
    here = rootfs
    for part in Path(path).parts[1:]:
        here /= part
        while here.is_symlink():
            link = here.readlink()
            here = rootfs / link.relative_to("/") if link.is_absolute() else here.parent / link
        here.mkdir(exist_ok=True)
    if not here.resolve().is_relative_to(rootfs.resolve()):
        raise UnsupportedSpec(f"{path}: leads out of the root file system")
    return shlex.quote(str(here))


def _confined(security: dict[str, Any]) -> list[str]:
    """The program that gives up what the specification denies, before the container's own runs."""
    user, group = security["runAsUser"], security["runAsGroup"]
    words = ["setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={security.get('fsGroup', group)}"]
    if not security.get("allowPrivilegeEscalation", True):
        words.append("--no-new-privs")
    if "ALL" in security.get("capabilities", {}).get("drop", ()):
        words += ["--inh-caps=-all", "--bounding-set=-all"]
    return words
