"""Every fenced YAML and console block of the documents.

YAML: kinds of pertoken go through what `pertoken validate` does, values of the chart through Helm, scrape jobs through
promtool, catalog rows through the catalog's reader; foreign kinds must be whole objects. Commands: `pertoken` is parsed
by its own parser (and run where it needs no cluster), charts are rendered with the flags that install them, other Helm
and kubectl commands must know each of their words and flags, targets of `make` and files must exist.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import typer
import yaml

from pertoken.adapters.catalog_files import read_catalog
from pertoken.api.check import Severity, check
from pertoken.catalog.lookup import SHIPPED
from pertoken.cli.main import app
from pertoken_sandbox.binaries import ensure

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pertoken"
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^( *)```(console|sh|yaml)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
GROUP = "serving.pertoken.dev/"
# Words with which a block begins, and why it is not run; at most ten.
SKIPPED = {
    "name: my-scenario": "a form with placeholders; tests/bench reads the shipped scenarios",
    "h100:\n  hours": "notation of the example; tests/capacity/test_purchase_example.py buys by it",
    "h100: {reservedGPUs": "result of the example; the same test compares it",
    "docker": "no container daemon; `make image` builds the same Dockerfile",
    "cosign verify": "asks a registry for what a release publishes",
    "gh attestation": "likewise",
    "curl": "needs the operator's debug port; tests/telemetry/test_http.py asks it",
}


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks() -> list[Block]:
    return [
        Block(
            path,
            text[: match.start()].count("\n") + 1,
            match[2],
            dedent(match[3]),
        )
        for path in DOCUMENTS
        for text in (path.read_text(),)
        for match in FENCE.finditer(text)
    ]


def skipped(text: str) -> bool:
    return any(text.startswith(beginning) for beginning in SKIPPED)


def commands_of(block: Block) -> list[str]:
    """Its commands without prompts and comments; in a block without any prompt every line is one."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    lines = [line for line in joined.splitlines() if line.strip()]
    prompted = [line.strip()[2:] for line in lines if line.strip().startswith("$ ")]
    return prompted or (lines if block.language == "sh" or lines[0].startswith("pertoken") else [])


BLOCKS = blocks()
YAML = [pytest.param(each.text, id=each.name) for each in BLOCKS if each.language == "yaml"]
COMMANDS = [
    pytest.param(command, id=f"{each.name}-{number}")
    for each in BLOCKS
    if each.language != "yaml"
    for number, command in enumerate(commands_of(each))
]


def test_there_are_blocks_and_few_are_left_out():
    assert len(YAML) > 25
    assert len(COMMANDS) > 30
    assert len(SKIPPED) <= 10
    texts = [str(each.values[0]) for each in (*YAML, *COMMANDS)]
    assert [beginning for beginning in SKIPPED if not any(text.startswith(beginning) for text in texts)] == []
    assert [each.name for each in BLOCKS if each.language != "yaml" and not commands_of(each)] == []


def chart_values() -> set[str]:
    return set(yaml.safe_load((CHART / "values.yaml").read_text()))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)


def helm_renders(*flags: str) -> None:
    done = run(str(ensure("helm")), "template", "pertoken", str(CHART), *flags)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", YAML)
def test_a_yaml_block_is_taken(text: str, tmp_path: Path):
    if skipped(text):
        pytest.skip("of the list")
    documents = [each for each in yaml.safe_load_all(text) if each]
    file = tmp_path / "block.yaml"
    file.write_text(text)
    keys = {key for document in documents for key in document}
    if any(str(document.get("apiVersion", "")).startswith(GROUP) for document in documents):
        findings = [each for each in check({"block.yaml": text}, SHIPPED).findings if each.severity is Severity.ERROR]
        assert findings == []
    elif keys == {"objective"}:
        whole = {"model": {"id": "meta-llama/Llama-3.1-8B-Instruct"}, **documents[0]}
        whole["variants"] = [{"name": "a", "pool": "p", "scaleTargetRef": {"name": "w"}}]
        manifest = {"apiVersion": f"{GROUP}v1alpha1", "kind": "InferenceService", "metadata": {"name": "a"}}
        findings = check({"block.yaml": yaml.safe_dump({**manifest, "spec": whole})}, SHIPPED).findings
        assert [each for each in findings if each.severity is Severity.ERROR] == []
    elif keys == {"gpus", "models"}:
        assert read_catalog(file).mistakes == ()
    elif keys == {"scrape_configs"}:
        done = run(str(ensure("promtool")), "check", "config", "--syntax-only", str(file))
        assert done.returncode == 0, done.stdout + done.stderr
    elif keys <= chart_values():
        helm_renders("-f", str(file), "--api-versions", "monitoring.coreos.com/v1")
    else:
        assert all({"apiVersion", "kind", "spec"} <= document.keys() for document in documents)
        assert all(document["metadata"]["name"] for document in documents)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_known(command: str, tmp_path: Path):
    if skipped(command):
        pytest.skip("of the list")
    words = shlex.split(command, comments=True)
    for stop in (">", "&"):
        words = words[: words.index(stop)] if stop in words else words
    program, *arguments = words
    {"pertoken": pertoken, "helm": helm, "kubectl": kubectl, "make": make}[program](arguments, tmp_path)


def pertoken(arguments: list[str], _folder: Path) -> None:
    """Parsed by the command's own parser; `validate` of files in the repository is run."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("pertoken", [], resilient_parsing=True)
    command = group.get_command(context, arguments[0])
    assert command is not None, arguments[0]
    own = command.context_class(command, info_name=arguments[0], parent=context)
    command.make_parser(own).parse_args(list(arguments[1:]))
    if arguments[0] == "validate" and (ROOT / arguments[1]).exists():
        done = run(str(ROOT / ".venv/bin/pertoken"), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def helm(arguments: list[str], _folder: Path) -> None:
    """Installs and upgrades are rendered from the repository's chart, with the command's own values."""
    words = arguments[0].split()
    known(str(ensure("helm")), words, arguments[1:])
    if arguments[0] not in {"install", "upgrade"}:
        return
    flags = [
        part
        for flag, value in zip(arguments, [*arguments[1:], ""], strict=True)
        if flag in {"--set", "-f"}
        for part in (flag, value)
    ]
    helm_renders(*flags)
    [chart] = [word for word in arguments if word.startswith("oci://") or word == "charts/pertoken"]
    if chart.startswith("oci://"):
        version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
        assert chart == "oci://ghcr.io/pertoken/charts/pertoken"
        assert arguments[arguments.index("--version") + 1] == version


def kubectl(arguments: list[str], _folder: Path) -> None:
    """The subcommand knows its flags, and files of the repository are there."""
    words = [word for word in arguments if not word.startswith("-")]
    namespace = arguments[:2] if arguments[0] == "-n" else []
    rest = arguments[len(namespace) :]
    depth = 2 if rest[0] in {"rollout", "create"} and not rest[1].startswith("-") else 1
    depth = 3 if rest[:2] == ["create", "secret"] else depth
    known(str(ensure("kubectl")), rest[:depth], rest[depth:])
    for word in words:
        if word.startswith("examples/"):
            assert (ROOT / word).exists()


def make(arguments: list[str], _folder: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert arguments[0] in targets


@cache
def help_of(program: str, words: tuple[str, ...]) -> str:
    done = run(program, *words, "--help")
    assert done.returncode == 0, done.stderr
    options = run(program, "options").stdout if program.endswith("amd64") and "kubectl" in program else ""
    return done.stdout + options


def known(program: str, words: list[str], rest: list[str]) -> None:
    """Whether a command's help has all of its flags."""
    text = help_of(program, tuple(words))
    assert f"{words[-1]}" in text
    for flag in (word.split("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)):
        pattern = rf"(?<![\w-]){re.escape(flag)}(?![\w-])"
        assert re.search(pattern, text), f"{' '.join(words)} has no {flag}"


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("pertoken status --nmaespace x", "nmaespace"),
        ("kubectl get --al", "kubectl|get has no --al"),
        ("helm upgrade a b --setx c", "upgrade has no --setx"),
        ("make tset", "tset"),
    ],
)
def test_a_wrong_command_would_be_seen(bad: str, told: str, tmp_path: Path):
    with pytest.raises(Exception, match=told):
        test_a_command_is_known(bad, tmp_path)
