from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from pertoken.api.check import Severity, check
from pertoken.catalog.lookup import SHIPPED
from pertoken.cli.crd import crd_command
from pertoken.cli.validate import validate_command

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.yaml"))


@pytest.fixture
def run():
    app = typer.Typer()
    app.command("validate")(validate_command)
    app.command("crd")(crd_command)
    return lambda *args, stdin=None: CliRunner().invoke(app, args, input=stdin)


def lines(text: str) -> list[str]:
    return [str(finding) for finding in check({"f.yaml": text}, SHIPPED).findings]


GOOD = """\
# a comment first
apiVersion: serving.pertoken.dev/v1alpha1
kind: InferenceService
metadata:
  name: chat
  namespace: demo
spec:
  model: {id: meta-llama/Llama-3.1-8B-Instruct}
  variants:
  - name: a100
    pool: a100
    scaleTargetRef: {name: server}
"""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_are_valid_and_explained(path):
    if "kind: InferenceService" not in path.read_text() and "kind: AcceleratorPool" not in path.read_text():
        return
    checked = check({path.name: path.read_text()}, SHIPPED)
    assert checked.ok, [str(finding) for finding in checked.findings]
    assert "#" in path.read_text()


def test_examples_as_a_set_leave_nothing_to_warn_of():
    checked = check({str(path): path.read_text() for path in EXAMPLES}, SHIPPED)
    assert [str(finding) for finding in checked.findings if finding.severity is not Severity.NOTE] == []


def test_one_line_per_mistake_with_file_line_object_field_value_expectation():
    text = GOOD.replace("name: a100\n", "name: a100\n    maxReplicas: many\n").replace("pool: a100", "pol: a100")
    assert lines(text) == [
        "f.yaml:10: InferenceService demo/chat: spec.variants[0].pool: missing: required",
        'f.yaml:11: InferenceService demo/chat: spec.variants[0].maxReplicas: "many": a whole number',
        'f.yaml:12: InferenceService demo/chat: spec.variants[0].pol: "a100": no such field, did you mean pool?',
    ]


def test_pool_that_is_not_in_the_files_is_a_warning():
    [only] = lines(GOOD)
    assert only == (
        'f.yaml:11: warning: InferenceService demo/chat: spec.variants[0].pool: "a100": '
        "an AcceleratorPool; the files hold none of this name"
    )


def test_unknown_model_and_accelerator_are_warnings():
    pool = {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": "a100"},
        "spec": {"accelerator": "a1000-sxm", "pricePerGPUHour": "1", "capacity": {"gpus": 1}},
    }
    text = GOOD.replace("meta-llama/Llama-3.1-8B-Instruct", "acme/llama-9") + "---\n" + yaml.safe_dump(pool)
    checked = check({"f.yaml": text}, SHIPPED)
    assert checked.ok
    assert {finding.field for finding in checked.findings} == {"spec.model.id", "spec.accelerator"}


@pytest.mark.parametrize(
    ("version", "kind", "expected"),
    [
        ("serving.pertoken.dev/v1alpha1", "InferenceServce", "did you mean InferenceService?"),
        ("serving.pertoken.dev/v1", "InferenceService", "serving.pertoken.dev/v1alpha1"),
        ("pertoken.dev/v1alpha1", "InferenceService", "serving.pertoken.dev/v1alpha1"),
        ("v1", "AcceleratorPool", "serving.pertoken.dev/v1alpha1"),
    ],
)
def test_wrong_header_is_named(version, kind, expected):
    [only] = lines(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n")
    assert expected in only
    assert "warning" not in only


def test_foreign_kinds_are_named_and_not_judged():
    [only] = lines("apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: x}\n")
    assert only == "f.yaml:1: note: InferenceService x: not checked: no kind of serving.pertoken.dev"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\n", "no valid YAML"),
        ("a: &x [*x]\n", "contains itself"),
        ("just text\n", "apiVersion"),
        ("- a\n- b\n", "apiVersion"),
        ("a: 1\x00\n", "no valid YAML"),
    ],
)
def test_what_is_no_manifest_is_one_line(text, expected):
    [only] = lines(text)
    assert only.startswith(("f.yaml:1:", "f.yaml:2:"))
    assert expected in only


@pytest.mark.parametrize("text", ["", "---\n---\n", "# nothing\n", "null\n"])
def test_nothing_is_no_mistake(text):
    assert lines(text) == []


def test_key_given_twice():
    text = GOOD.replace("spec:\n", "spec:\n  priority: 1\n  priority: 2\n")
    assert any('spec.priority: "2": once: priority is given twice' in line for line in lines(text))


def test_items_of_a_list_are_checked_one_by_one():
    obj = yaml.safe_load(GOOD)
    bad = yaml.safe_load(GOOD)
    bad["spec"]["priority"] = 5000
    bad["metadata"]["name"] = "other"
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [obj, bad]}, sort_keys=False)
    errors = [finding for finding in check({"f.yaml": text}, SHIPPED).findings if finding.severity is Severity.ERROR]
    assert [(finding.object, finding.field) for finding in errors] == [("InferenceService demo/other", "spec.priority")]
    assert text.splitlines()[errors[0].line - 1].strip() == "priority: 5000"


def test_the_same_object_twice():
    assert any("once: also in f.yaml:2" in line for line in lines(GOOD + "---\n" + GOOD))


def test_templates_are_built_to_see_whether_they_can_be():
    text = GOOD.replace(
        "scaleTargetRef: {name: server}",
        "podTemplate: {spec: {containers: [{name: engine, image: i, args: [--max-num-seqs=8]}]}}",
    )
    assert any("drop --max-num-seqs" in line for line in lines(text))


def test_bare_off_is_explained():
    text = GOOD.replace("spec:\n", "spec:\n  mode: Off\n", 1)
    assert any('write "Off"' in line for line in lines(text))
    assert not any("mode" in line for line in lines(text.replace("Off", '"Off"')))


def test_unquoted_times_are_text_as_for_kubectl():
    text = GOOD.replace("spec:\n", "spec:\n  freeze: {endTime: 2026-03-01T08:00:00Z}\n", 1)
    assert not any("endTime" in line for line in lines(text))


def test_exit_codes_and_outputs(run, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("pool:", "pol:"))
    done = run("validate", str(good))
    assert done.exit_code == 0
    assert "valid: 1 InferenceService, 0 AcceleratorPools" in done.output
    done = run("validate", str(good), str(bad), str(tmp_path / "absent.yaml"))
    assert done.exit_code == 2
    assert "absent.yaml:0: cannot be read: No such file or directory" in done.output
    done = run("validate", "-o", "json", str(bad))
    assert done.exit_code == 2
    assert {row["field"] for row in json.loads(done.output)} == {"spec.variants[0].pool", "spec.variants[0].pol"}
    done = run("validate", "-o", "yaml", str(good))
    assert done.exit_code == 0
    assert yaml.safe_load(done.output)[0]["severity"] == "warning"


def test_folders_and_stdin(run, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yml").write_text(GOOD)
    assert "valid: 1 InferenceService" in run("validate", str(tmp_path)).output
    assert "valid: 1 InferenceService" in run("validate", "-", stdin=GOOD).output


def test_crd_command_prints_what_the_folder_holds(run):
    done = run("crd")
    assert done.exit_code == 0
    printed = {
        document["metadata"]["name"]: document for document in yaml.load_all(done.output, Loader=yaml.CSafeLoader)
    }
    held = [yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert printed == {document["metadata"]["name"]: document for document in held}


DIGITS = "9" * 5000
OWNED = "podTemplate: {spec: {containers: [{name: engine, %s}]}}"
ADOPTED = "scaleTargetRef: {name: chat}"


def manifest(variant: str, model: str = "id: meta-llama/Llama-3.1-8B-Instruct") -> str:
    return (
        "apiVersion: serving.pertoken.dev/v1alpha1\nkind: InferenceService\nmetadata: {name: chat, namespace: team}\n"
        f"spec:\n  model: {{{model}}}\n  variants:\n  - name: a\n    pool: pool\n    {variant}\n"
        "---\napiVersion: serving.pertoken.dev/v1alpha1\nkind: AcceleratorPool\nmetadata: {name: pool}\n"
        "spec: {accelerator: h100-sxm, capacity: {gpus: 8}}\n"
    )


def architecture(**changed: object) -> str:
    figures = {"hiddenSize": 1, "numHiddenLayers": 1, "numAttentionHeads": 1, "intermediateSize": 1, "vocabSize": 1}
    return "id: own, architecture: {" + ", ".join(f"{k}: {v}" for k, v in {**figures, **changed}.items()) + "}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (manifest("? [a]\n    : 1"), "no valid YAML: found unhashable key"),
        (manifest(OWNED % f"x: {'[' * 70}{']' * 70}"), "spec.variants[0].podTemplate: {spec}: at most 64 levels"),
        (manifest(OWNED % f"x: {'[' * 900}{']' * 900}"), "nested more than 100 levels deep"),
        (manifest(OWNED % f"x: {'{a: ' * 9000}1{'}' * 9000}"), "nested more than 100 levels deep"),
        (manifest(OWNED % f"resources: {{limits: {{nvidia.com/gpu: '{DIGITS}'}}}}"), 'limits["nvidia.com/gpu"]: "999'),
        (manifest(OWNED % "resources: {limits: {nvidia.com/gpu: '²'}}"), 'limits["nvidia.com/gpu"]: "²"'),
        (manifest(f"maxReplicas: {DIGITS}\n    {ADOPTED}"), 'spec.variants[0].maxReplicas: "999'),
        (manifest("scaleTargetRef: {name: .}"), 'scaleTargetRef.name: ".": lower-case letters'),
        (manifest("scaleTargetRef: {name: ..}"), 'scaleTargetRef.name: "..": lower-case letters'),
        (manifest("scaleTargetRef: {name: a/scale}"), 'scaleTargetRef.name: "a/scale": lower-case letters'),
        (manifest("scaleTargetRef: {name: a%2Fb}"), 'scaleTargetRef.name: "a%2Fb": lower-case letters'),
        (manifest("scaleTargetRef: {name: ''}"), "scaleTargetRef.name"),
        (manifest("scaleTargetRef: {name: a, kind: ../x}"), 'scaleTargetRef.kind: "../x": a kind in CamelCase'),
        (manifest("scaleTargetRef: {name: a, apiVersion: ../v1}"), 'apiVersion: "../v1": group/version'),
        (manifest("scaleTargetRef: {name: a, apiVersion: a/b/v1}"), 'apiVersion: "a/b/v1": group/version'),
        (manifest(ADOPTED, architecture(numHiddenLayers=200_000_000)), "numHiddenLayers: 200000000: at most 1000"),
        (manifest(ADOPTED, architecture(hiddenSize=10**30)), "hiddenSize: "),
        (
            "k0: &k0 [x, x]\n" + "".join(f"k{i + 1}: &k{i + 1} [{f'*k{i}, ' * 9}*k{i}]\n" for i in range(9)),
            "200,000 values",
        ),
        ("a: &a [*a]\n", "a value contains itself"),
        ("a: !!timestamp x\n", "a tagged value cannot be read"),
    ],
    ids=range(20),
)
def test_hostile_manifests_are_told_in_one_line_each(run, tmp_path, text, told):
    file = tmp_path / "hostile.yaml"
    file.write_text(text)
    done = run("validate", str(file))

    assert done.exit_code == 2
    assert told in done.output
    assert all(len(line) < 600 for line in done.output.splitlines())


def test_an_image_tag_of_any_length_is_no_version(run, tmp_path):
    file = tmp_path / "long.yaml"
    wanted = "resources: {limits: {nvidia.com/gpu: '1'}}"
    file.write_text(manifest(OWNED % f"image: 'vllm/vllm-openai:v{DIGITS}.1', {wanted}"))

    assert run("validate", str(file)).exit_code == 0


def test_a_name_that_hides_its_quantization_is_a_warning():
    hidden = GOOD.replace("meta-llama/Llama-3.1-8B-Instruct", "unsloth/Llama-3.1-8B-Instruct-GGUF")
    assert [line for line in lines(hidden) if "spec.model.id" in line and "hides the type of its GGUF files" in line]
    assert not [line for line in lines(hidden.replace("GGUF", "GGUF:Q4_K_M")) if "GGUF" in line]
