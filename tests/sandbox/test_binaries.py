"""Where programs come from, without the network and without a compiler."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pertoken_sandbox import binaries, cache, controlplane, download, gobuild, neighbours
from pertoken_sandbox.versions import (
    BUILD_MINUTES,
    ETCD,
    HELM,
    KUBERNETES,
    PROGRAMS,
    PROMETHEUS,
    GoSource,
    PinnedDownload,
    Program,
)

PROGRAM = b"#!/bin/sh\necho pinned\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERTOKEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(binaries, "_unreachable_hosts", set())
    return tmp_path / "cache"


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], str]]:
    """Serve files over HTTP on loopback; returns the root address."""
    servers: list[ThreadingHTTPServer] = []

    def start(files: dict[str, bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_args: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def release_at(monkeypatch: pytest.MonkeyPatch, release: PinnedDownload) -> None:
    monkeypatch.setattr(Program, "release", lambda _self: release)


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    release_at(monkeypatch, PinnedDownload("http://127.0.0.1:1/etcd", "http://127.0.0.1:1/etcd.sha256"))


def no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        pytest.fail("nothing was to be built")

    monkeypatch.setattr(gobuild, "build", refuse)


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PROGRAM)
    path.chmod(0o755)
    return path


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def test_assets_come_before_the_cache(tmp_path, monkeypatch):
    cached = executable(cache.bin_dir() / PROGRAMS["etcd"].file_name)
    assert binaries.ensure("etcd") == cached
    given = executable(tmp_path / "assets" / "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert binaries.ensure("etcd") == given


def test_assets_without_the_program_fall_back_to_the_cache(tmp_path, monkeypatch):
    executable(tmp_path / "assets" / "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    cached = executable(cache.bin_dir() / PROGRAMS["kube-scheduler"].file_name)
    assert binaries.ensure("kube-scheduler") == cached


def test_a_release_is_checked_and_cached(serve, monkeypatch):
    root = serve({"/kubectl": PROGRAM, "/kubectl.sha256": sha256(PROGRAM)})
    release_at(monkeypatch, PinnedDownload(f"{root}/kubectl", f"{root}/kubectl.sha256"))
    no_build(monkeypatch)
    path = binaries.ensure("kubectl")
    assert path == cache.bin_dir() / PROGRAMS["kubectl"].file_name
    assert path.read_bytes() == PROGRAM
    assert path.stat().st_mode & 0o111
    assert binaries.find("kubectl") == path


def test_an_archive_is_checked_by_its_named_line_and_unpacked(serve, monkeypatch):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("linux-amd64/helm")
        entry.size = len(PROGRAM)
        tar.addfile(entry, io.BytesIO(PROGRAM))
    archive = packed.getvalue()
    sums = b"0" * 64 + b"  other.tar.gz\n" + sha256(archive) + b" *helm.tar.gz\n"
    root = serve({"/helm.tar.gz": archive, "/sums": sums})
    release_at(monkeypatch, PinnedDownload(f"{root}/helm.tar.gz", f"{root}/sums", "linux-amd64/helm"))
    no_build(monkeypatch)
    assert binaries.ensure("helm").read_bytes() == PROGRAM


@pytest.mark.parametrize("published", [b"0" * 64, b"no digest here", sha256(PROGRAM) + b"  other\n" + b"x\n"])
def test_a_checksum_mismatch_is_refused_and_nothing_is_kept(serve, monkeypatch, published):
    root = serve({"/kubectl": PROGRAM, "/kubectl.sha256": published})
    release_at(monkeypatch, PinnedDownload(f"{root}/kubectl", f"{root}/kubectl.sha256"))
    no_build(monkeypatch)
    with pytest.raises(download.ChecksumMismatch):
        binaries.ensure("kubectl")
    assert [path.name for path in cache.bin_dir().iterdir() if not path.name.endswith(".lock")] == []


def test_an_unreachable_release_is_said_once_and_built(monkeypatch, capsys):
    no_network(monkeypatch)
    monkeypatch.setattr(gobuild, "build", lambda _source, output, _what: executable(output))
    assert binaries.ensure("etcd").read_bytes() == PROGRAM
    assert binaries.ensure("kubectl").read_bytes() == PROGRAM
    assert capsys.readouterr().err.count("cannot be reached") == 1


def test_without_network_and_go_the_error_names_what_to_install(monkeypatch):
    no_network(monkeypatch)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(binaries.BinaryUnavailable, match=r"etcd .*install Go 1\.26"):
        binaries.ensure("etcd")


STUB_GO = """#!{python}
import os, pathlib, sys
with open({log!r}, "a") as log:
    log.write("\\n".join(sys.argv[1:]) + "\\n\\n")
if {broken!r} and any({broken!r} in argument for argument in sys.argv):
    sys.exit("broken on purpose")
output = sys.argv[sys.argv.index("-o") + 1]
packages = sys.argv[sys.argv.index("-o") + 2 :]
files = [output + package.rsplit("/", 1)[-1] for package in packages] if output.endswith("/") else [output]
for file in files:
    pathlib.Path(file).write_bytes({program!r})
"""


@pytest.fixture
def stub_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], list[list[str]]]]:
    """Put a `go` on the PATH that writes what it should build; returns the arguments of its calls so far."""

    def install(broken: str = "") -> Callable[[], list[list[str]]]:
        log = tmp_path / "go.log"
        script = tmp_path / "path" / "go"
        executable(script)
        script.write_text(STUB_GO.format(python=sys.executable, log=str(log), broken=broken, program=PROGRAM))
        monkeypatch.setenv("PATH", str(script.parent))
        return lambda: [call.split("\n") for call in log.read_text().strip().split("\n\n")]

    return install


KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")


def test_the_kubernetes_programs_are_built_by_one_go_build(stub_go, monkeypatch, capsys):
    no_network(monkeypatch)
    calls = stub_go()
    paths = binaries.ensure_all(controlplane.PROGRAMS)
    assert list(paths) == list(controlplane.PROGRAMS)
    assert [path.read_bytes() for path in paths.values()] == [PROGRAM] * 5
    packages = [call[call.index("-o") + 2 :] for call in calls()]
    assert packages == [
        ["go.etcd.io/etcd/server/v3"],
        [f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS],
    ]
    said = capsys.readouterr().err
    first = said.splitlines()[0]
    assert "kube-apiserver, kube-controller-manager, kube-scheduler, kubectl (about 10 min)" in first
    assert "all about 11 min" in first
    assert "helm" not in said


def test_what_is_there_already_is_not_built_again(stub_go, monkeypatch, capsys):
    no_network(monkeypatch)
    executable(cache.bin_dir() / PROGRAMS["kubectl"].file_name)
    calls = stub_go()
    binaries.ensure_all(KUBERNETES_PROGRAMS)
    (call,) = calls()
    assert call[-3:] == [f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS[:3]]
    capsys.readouterr()
    binaries.ensure_all(KUBERNETES_PROGRAMS)
    assert len(calls()) == 1
    assert capsys.readouterr().err == ""


def test_a_failed_build_keeps_what_was_built_before(stub_go, monkeypatch):
    no_network(monkeypatch)
    stub_go(broken="kube-scheduler")
    with pytest.raises(binaries.BinaryUnavailable, match="broken on purpose"):
        binaries.ensure_all(controlplane.PROGRAMS)
    assert [name for name in controlplane.PROGRAMS if binaries.find(name)] == ["etcd"]


def test_ready_programs_come_before_a_build(serve, stub_go, monkeypatch):
    root = serve({"/program": PROGRAM, "/program.sha256": sha256(PROGRAM)})
    release_at(monkeypatch, PinnedDownload(f"{root}/program", f"{root}/program.sha256"))
    stub_go(broken="cmd")
    assert set(binaries.ensure_all(KUBERNETES_PROGRAMS)) == set(KUBERNETES_PROGRAMS)


def test_programs_of_a_module_have_the_same_flags():
    flags: dict[str, set[tuple[object, object]]] = {}
    for program in PROGRAMS.values():
        flags.setdefault(program.source.module, set()).add((program.source.ldflags, program.source.tags))
    assert all(len(each) == 1 for each in flags.values())
    assert set(flags) == set(BUILD_MINUTES)


def test_go_names_the_programs_of_one_build_by_their_packages(tmp_path, monkeypatch):
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    module = tmp_path / "tools" / "pair"
    for name in ("first", "second"):
        (module / "cmd" / name).mkdir(parents=True)
        (module / "cmd" / name / "main.go").write_text("package main\n\nfunc main() {}\n")
    (module / "go.mod").write_text("module example.test/pair\n\ngo 1.21\n")
    monkeypatch.setattr(gobuild, "TOOLS", tmp_path / "tools")
    sources = [GoSource("pair", f"example.test/pair/cmd/{name}") for name in ("first", "second")]
    built = gobuild.build_together(sources, tmp_path, "a pair")
    assert [path.name for path in built] == ["first", "second"]
    assert all(subprocess.run([path], check=False).returncode == 0 for path in built)


def test_an_interrupted_build_leaves_no_program_and_no_litter(monkeypatch):
    no_network(monkeypatch)

    def interrupted(_source: object, output: Path, _what: str) -> None:
        output.write_bytes(PROGRAM[:5])
        raise KeyboardInterrupt

    monkeypatch.setattr(gobuild, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        binaries.ensure("etcd")
    assert binaries.find("etcd") is None
    assert [path.name for path in cache.bin_dir().iterdir() if not path.name.endswith(".lock")] == []


def test_a_build_of_a_broken_module_fails_with_its_log(tmp_path, monkeypatch):
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    broken = tmp_path / "tools" / "etcd"
    broken.mkdir(parents=True)
    (broken / "go.mod").write_text("module broken\n\ngo 1.21\n")
    monkeypatch.setattr(gobuild, "TOOLS", tmp_path / "tools")
    with pytest.raises(gobuild.BuildFailed, match="cannot find module providing package"):
        gobuild.build(PROGRAMS["etcd"].source, tmp_path / "out", "etcd")


HOLD_LOCK = """
import time
from pertoken_sandbox import cache
with cache.lock("programs"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_excludes_other_processes_and_ends_with_its_holder(capsys):
    with subprocess.Popen([sys.executable, "-c", HOLD_LOCK], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        threading.Timer(0.5, holder.kill).start()
        with cache.lock("programs"):
            assert holder.wait(0.5) == -signal.SIGKILL
    assert "waiting for it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "requirement"),
    [
        ("controlplane", f"k8s.io/kubernetes v{KUBERNETES}"),
        ("etcd", f"go.etcd.io/etcd/server/v3 v{ETCD}"),
        ("prometheus", f"github.com/prometheus/prometheus v0.3{PROMETHEUS.split('.')[1]}.{PROMETHEUS.split('.')[2]}"),
        ("helm", f"helm.sh/helm/v4 v{HELM}"),
    ],
)
def test_the_modules_pin_the_versions_of_the_table(module, requirement):
    folder = gobuild.module_folder(module)
    assert requirement in (folder / "go.mod").read_text()
    assert f"{requirement} h1:" in (folder / "go.sum").read_text()


def test_every_program_is_a_tool_of_its_module():
    for program in PROGRAMS.values():
        text = (gobuild.module_folder(program.source.module) / "go.mod").read_text()
        assert re.search(rf"^(tool )?\s*{re.escape(program.source.package)}$", text, re.MULTILINE), program.name


def test_a_module_that_is_not_pinned_is_refused():
    with pytest.raises(gobuild.BuildFailed, match="is not pinned"):
        neighbours.go_module_dir("github.com/kserve/kserve", "v0.1.0")


def test_every_neighbour_is_pinned():
    versions = neighbours.neighbour_versions()
    sums = (gobuild.module_folder("neighbours") / "go.sum").read_text()
    for neighbour in neighbours.NEIGHBOURS.values():
        assert f"{neighbour.module} {versions[neighbour.module]} h1:" in sums
