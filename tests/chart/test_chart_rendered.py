"""The chart as Helm renders it, without a cluster."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pertoken.cli.doctor.cluster import ACTING, RIGHTS
from pertoken.cli.reference.chart_values import documented
from pertoken.settings import Settings
from pertoken_sandbox.binaries import ensure
from pertoken_sandbox.demo.setting import RENDERED_CHART

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pertoken"

Manifests = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def helm():
    binary = ensure("helm")

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(binary), *args], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def render(helm):
    def rendered(*flags: str) -> Manifests:
        done = helm("template", "pertoken", str(CHART), "--namespace", "pertoken-system", *flags)
        assert done.returncode == 0, done.stderr
        documents = [document for document in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if document]
        manifests = {(document["kind"], document["metadata"]["name"]): document for document in documents}
        assert len(manifests) == len(documents) or "namespace" in " ".join(flags)
        return manifests

    return rendered


def rules_of(*roles) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of all rules."""
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def settings_of(manifests: Manifests) -> dict[str, str]:
    return manifests["ConfigMap", "pertoken-settings"]["data"]


def test_lint(helm):
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_crds_are_those_of_the_repository(render):
    for keep in ("true", "false"):
        manifests = render("--set", f"crds.keep={keep}")
        for path in (ROOT / "crds").glob("*.yaml"):
            wanted = yaml.safe_load(path.read_text())
            crd = manifests["CustomResourceDefinition", wanted["metadata"]["name"]]
            assert crd["spec"] == wanted["spec"]
            policy = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
            assert policy == ("keep" if keep == "true" else None)
    assert not [kind for kind, _ in render("--set", "crds.enabled=false") if kind == "CustomResourceDefinition"]


def test_every_setting_exists_and_the_defaults_are_valid(render, monkeypatch):
    """A misspelt variable would be ignored in silence."""
    flags = ("--set", "prometheus.username=u,prometheus.secret=s,prometheus.secretKeys={token,password,ca.crt}")
    manifests = render(*flags)
    container = manifests["Deployment", "pertoken"]["spec"]["template"]["spec"]["containers"][0]
    names = {*settings_of(manifests), *(entry["name"] for entry in container["env"])}
    known = {f"PERTOKEN_{name.upper()}" for name in Settings.model_fields}
    assert names <= known
    for name, value in settings_of(manifests).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.target_kinds == ("Deployment.apps", "StatefulSet.apps")
    assert settings.namespaces == ()
    assert str(settings.prometheus_bearer_token_file) == "/etc/pertoken/prometheus/token"


def test_metrics_profiles_reach_the_operator(render, tmp_path, monkeypatch):
    exported = {"namespace": "exported_namespace", "pod": "exported_pod"}
    secret = {"secret": "team-b", "secretKeys": ["token", "ca.crt"], "tls": {"insecureSkipVerify": False}}
    profiles = {
        "default": {"gpu": {"labels": exported, "renamed": {"DCGM_FI_DEV_GPU_UTIL": "gpu_use"}}},
        "team-b": {"url": "https://b:9090", "engine": {"prefixes": {"vllm:": "vllm_"}}, **secret},
    }
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"metricsProfiles": profiles}))
    manifests = render("-f", str(values))
    for name, value in settings_of(manifests).items():
        monkeypatch.setenv(name, value)
    loaded = Settings().all_metrics_profiles()
    assert loaded["default"].gpu.labels.pod == "exported_pod"
    assert loaded["default"].gpu.renamed == (("DCGM_FI_DEV_GPU_UTIL", "gpu_use"),)
    other = loaded["team-b"]
    assert other.engine.prefixes == (("vllm:", "vllm_"),)
    assert str(other.credentials.bearer_token_file) == "/etc/pertoken/metrics/team-b/token"
    assert str(other.tls.ca_file) == "/etc/pertoken/metrics/team-b/ca.crt"
    pod = manifests["Deployment", "pertoken"]["spec"]["template"]["spec"]
    assert {"name": "metrics-team-b", "secret": {"secretName": "team-b", "defaultMode": 0o440}} in pod["volumes"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["metrics-team-b"] == "/etc/pertoken/metrics/team-b"
    assert "metrics-default" not in mounts


def test_pod_is_locked_down(render):
    pod = render()["Deployment", "pertoken"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["resources"]["limits"]["memory"]


def test_metrics_may_be_closed_to_all_but_who_is_named(render):
    policy = ("NetworkPolicy", "pertoken")
    assert policy not in render()
    manifests = render("--set", "networkPolicy.enabled=true")
    spec = manifests[policy]["spec"]
    pods = manifests["Deployment", "pertoken"]["spec"]["template"]
    assert spec["podSelector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()
    [rule] = spec["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert rule["ports"][0]["port"] == pods["spec"]["containers"][0]["ports"][0]["name"]
    for nobody in ("null", "[]"):
        # A rule without peers would let everybody in; no rule lets nobody in.
        flags = ("--set", "networkPolicy.enabled=true", "--set-json", f"networkPolicy.from={nobody}")
        assert render(*flags)[policy]["spec"]["ingress"] == []


def test_changed_settings_roll_the_operator(render):
    def checksum(*flags: str) -> str:
        template = render(*flags)["Deployment", "pertoken"]["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/settings"]

    assert checksum() == checksum()
    assert checksum() != checksum("--set", "settings.CYCLE_SECONDS=5")


def test_selectors_find_the_pods(render):
    manifests = render("--set", "commonLabels.team=serving")
    deployment = manifests["Deployment", "pertoken"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    assert manifests["Service", "pertoken-metrics"]["spec"]["selector"].items() <= labels.items()
    assert labels["team"] == "serving"


def test_operators_own_watch_never_sees_the_charts_config_map(render):
    """The operator takes ConfigMaps with managed-by=pertoken for batch caps."""
    for (kind, name), manifest in render().items():
        managed = manifest["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by")
        assert managed != "pertoken", (kind, name)


def test_doctor_asks_for_no_right_that_the_chart_does_not_give(render):
    given = rules_of(*(each for (kind, _), each in render().items() if kind in {"ClusterRole", "Role"}))
    asked = {(right.group, right.resource, verb) for right in (*RIGHTS, *ACTING) for verb in right.verbs}

    assert asked <= given


def test_no_right_to_more_than_it_needs(render):
    role = rules_of(render()["ClusterRole", "pertoken"])
    for group, resource, verb in role:
        assert "*" not in (group, resource, verb)
        assert resource not in {"secrets", "roles", "clusterroles", "customresourcedefinitions", "serviceaccounts"}
        assert verb not in {"escalate", "bind", "impersonate", "deletecollection"}
    assert ("", "pods", "delete") not in role
    assert ("", "pods", "create") not in role
    assert ("", "pods/eviction", "create") in role
    assert ("apps", "deployments/scale", "patch") in role
    assert ("apps", "statefulsets", "patch") not in role
    writes = {(resource, verb) for _, resource, verb in role if verb in {"create", "update", "patch", "delete"}}
    assert writes == {
        *(("inferenceservices/status", "patch"), ("acceleratorpools/status", "patch")),
        *(("events", "create"), ("events", "patch"), ("configmaps", "create"), ("configmaps", "patch")),
        *(("deployments/scale", "patch"), ("statefulsets/scale", "patch"), ("pods/eviction", "create")),
        *(("httproutes", "patch"), ("modelroutes/status", "patch")),
    }
    assert {verb for _, resource, verb in role if resource == "httproutes"} == {"get", "patch"}


def bound(documents) -> dict[str, set[str]]:
    """Namespaces in which (or, by an empty name, everywhere) each ClusterRole is bound."""
    places: dict[str, set[str]] = {}
    for document in documents:
        if document["kind"] in {"RoleBinding", "ClusterRoleBinding"}:
            places.setdefault(document["roleRef"]["name"], set()).add(document["metadata"].get("namespace", ""))
    return places


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ((), ()),
        (("ownedNamespaces={team-a,team-b}",), ("team-a", "team-b")),
        (("ownedWorkloads=All",), ("",)),
        (("namespaces={team-a,team-b}",), ()),
        (("namespaces={team-a,team-b}", "ownedNamespaces={team-b}"), ("team-b",)),
        (("namespaces={team-a,team-b}", "ownedWorkloads=All"), ("team-a", "team-b")),
        (("readOnly=true", "ownedNamespaces={team-a}"), ()),
    ],
    ids=str,
)
def test_workloads_may_be_made_only_where_it_is_bound(helm, flags, where):
    given = [word for flag in flags for word in ("--set", flag)]
    done = helm("template", "pertoken", str(CHART), "--namespace", "pertoken-system", *given)
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    roles = {each["metadata"]["name"]: each for each in documents if each["kind"] == "ClusterRole"}
    assert bound(documents).get("pertoken-owned", set()) == set(where)
    assert ("pertoken-owned" in roles) is ("readOnly=true" not in flags)
    everywhere = {name for name, places in bound(documents).items() if "" in places}
    creates = {name for name in everywhere for _, kind, verb in rules_of(roles[name]) if (kind, verb) == MAKES}
    assert creates == ({"pertoken-owned"} if where == ("",) else set())


MAKES = ("deployments", "create")


def test_read_only_may_not_touch_workloads(render):
    role = rules_of(render("--set", "readOnly=true")["ClusterRole", "pertoken"])
    writes = {resource for _, resource, verb in role if verb not in {"get", "list", "watch"}}
    assert writes == {"inferenceservices/status", "acceleratorpools/status", "modelroutes/status", "events"}


def test_target_kinds_render_role_settings_and_policy(render, tmp_path):
    values = tmp_path / "values.yaml"
    kinds = [
        {"kind": "Deployment", "group": "apps", "resource": "deployments"},
        {"kind": "LeaderWorkerSet", "group": "leaderworkerset.x-k8s.io", "resource": "leaderworkersets"},
    ]
    values.write_text(yaml.safe_dump({"targetKinds": kinds}))
    manifests = render("-f", str(values))
    role = rules_of(manifests["ClusterRole", "pertoken"])
    assert ("leaderworkerset.x-k8s.io", "leaderworkersets/scale", "patch") in role
    assert not [resource for _, resource, _ in role if resource.startswith("statefulsets")]
    assert settings_of(manifests)["PERTOKEN_TARGET_KINDS"] == (
        "Deployment.apps,LeaderWorkerSet.leaderworkerset.x-k8s.io"
    )
    policy = manifests["ValidatingAdmissionPolicy", "pertoken.serving.pertoken.dev"]
    resources = next(item for item in policy["spec"]["variables"] if item["name"] == "resources")
    assert "'LeaderWorkerSet.leaderworkerset.x-k8s.io': 'leaderworkersets'" in resources["expression"]


def test_named_namespaces_get_roles(helm):
    flags = ("--set", "namespaces={team-a,team-b}")
    done = helm("template", "pertoken", str(CHART), "--namespace", "pertoken-system", *flags)
    documents = [document for document in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if document]
    roles = {
        document["metadata"]["namespace"]: rules_of(document)
        for document in documents
        if document["kind"] == "Role" and document["metadata"]["name"] == "pertoken"
    }
    assert set(roles) == {"team-a", "team-b"}
    assert ("apps", "deployments/scale", "patch") in roles["team-a"]
    [cluster] = [
        rules_of(document)
        for document in documents
        if document["kind"] == "ClusterRole" and document["metadata"]["name"] == "pertoken"
    ]
    assert {resource for _, resource, _ in cluster} == {
        *("acceleratorpools", "acceleratorpools/status", "capacityplans", "nodes", "namespaces"),
        *("deviceclasses", "resourceslices"),
    }


@pytest.mark.parametrize(
    "bad",
    [
        "replicaCount=many",
        "replicas=2",
        "prometheus.url=prometheus:9090",
        "metricsProfiles.a.gpu.label.pod=exported_pod",
        "metricsProfiles.a.engine.engines={vlm}",
        "metricsProfiles.My_Profile.url=http://b",
        "ownedWorkloads=Some",
        "admission.actions={Refuse}",
        "image.digest=abc",
        "networkPolicy.from=everybody",
        "targetKinds[0].kind=deployment",
        "settings.CYLE_SECONDS=5",
        "settings.cycle_seconds=5",
        "settings.PROMETHEUS_URL=http://twice:9090",
        "settings.LEASE_SECONDS=1",
        "prometheus.secret=access",
        "prometheus.secretKeys={token}",
        "prometheus.username=reader",
        "metricsProfiles.a.secret=access",
        "podDisruptionBudget.maxUnavailable=0",
        "engineMonitors.targets[0].name=owned",
        "prometheusRule.disabled={PertokenDwn}",
        "networkPolicy.egress=all",
    ],
)
def test_schema_refuses(helm, bad):
    done = helm("template", "pertoken", str(CHART), "--set", bad)
    assert done.returncode != 0


def test_every_value_is_documented():
    """Every value of the first two levels has a comment of its own; a list or a map of the user's is one value."""
    text = (CHART / "values.yaml").read_text()
    described = {path for path, _ in documented(text)}
    groups = {path[:1] for path in described if len(path) > 1}
    values = {(name,) for name in yaml.safe_load(text)}
    assert values - described - groups == set()
    inside = {(name, key) for name, value in yaml.safe_load(text).items() if (name,) in groups for key in value}
    assert {path for path in inside if path not in described and not any(path == d[:2] for d in described)} == {
        ("resources", "requests"),
        ("resources", "limits"),
    } & inside


def test_image_by_digest(render):
    digest = "sha256:" + "a" * 64
    container = render("--set", f"image.digest={digest}")["Deployment", "pertoken"]["spec"]["template"]["spec"]
    assert container["containers"][0]["image"] == f"ghcr.io/pertoken/pertoken@{digest}"


def test_the_demo_applies_the_chart_as_rendered(helm):
    templates = ("serviceaccount", "rbac", "admission")
    shown = [argument for name in templates for argument in ("--show-only", f"templates/{name}.yaml")]
    done = helm("template", "pertoken", str(CHART), "--namespace", "pertoken-system", *shown)
    assert done.returncode == 0, done.stderr
    kept = list(yaml.load_all(RENDERED_CHART.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
    assert kept == list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)), (
        f"write what Helm prints to {RENDERED_CHART}"
    )


def test_the_flight_recorder_is_off_and_gets_a_bounded_folder_when_it_is_on(render, monkeypatch):
    off = render()
    assert not [name for name in settings_of(off) if "RECORD" in name]
    on = render("--set", "recorder.cycles=240", "--set", "recorder.mebibytes=100")
    for name, value in settings_of(on).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    pod = on["Deployment", "pertoken"]["spec"]["template"]["spec"]
    volume = next(each for each in pod["volumes"] if each["name"] == "recordings")
    mount = next(each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "recordings")

    assert (settings.record_cycles, settings.record_mebibytes) == (240, 100)
    assert str(settings.record_dir) == mount["mountPath"]
    assert volume["emptyDir"] == {"sizeLimit": "116Mi"}
    assert "recordings" not in str(off["Deployment", "pertoken"])


MONITORING = ("--api-versions", "monitoring.coreos.com/v1")
EVERYTHING = ("-f", str(CHART / "ci" / "everything-values.yaml"), *MONITORING)


def test_two_replicas_prefer_different_nodes_and_zones_and_one_may_be_away(render):
    manifests = render()
    deployment = manifests["Deployment", "pertoken"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    pod = deployment["template"]["spec"]
    [term] = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    [spread] = pod["topologySpreadConstraints"]
    budget = manifests["PodDisruptionBudget", "pertoken"]["spec"]
    assert deployment["replicas"] == 2
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")
    for selector in (term["podAffinityTerm"]["labelSelector"], spread["labelSelector"], budget["selector"]):
        assert selector["matchLabels"].items() <= labels.items()
    assert budget["maxUnavailable"] == 1
    for alone in ("replicaCount=1", "replicaCount=0", "podDisruptionBudget.enabled=false"):
        assert ("PodDisruptionBudget", "pertoken") not in render("--set", alone)


def test_monitors_keep_the_labels_by_which_pertoken_joins(render):
    manifests = render(*EVERYTHING)
    [operator] = manifests["ServiceMonitor", "pertoken"]["spec"]["endpoints"]
    assert operator["honorLabels"] is True, "namespace and service of a series are the InferenceService's"
    owned = manifests["PodMonitor", "pertoken-engines-owned"]["spec"]
    [engine] = owned["podMetricsEndpoints"]
    assert engine["honorLabels"] is False
    assert {rule["targetLabel"]: rule["sourceLabels"] for rule in engine["relabelings"]} == {
        "namespace": ["__meta_kubernetes_namespace"],
        "pod": ["__meta_kubernetes_pod_name"],
        "container": ["__meta_kubernetes_pod_container_name"],
    }
    assert (engine["port"], engine["interval"], owned["namespaceSelector"]) == ("http", "15000ms", {"any": True})
    adopted = manifests["PodMonitor", "pertoken-engines-llama-server"]["spec"]
    assert adopted["podMetricsEndpoints"][0]["portNumber"] == 8000
    assert adopted["namespaceSelector"] == {"matchNames": ["default"]}
    assert not [kind for kind, _ in render(*EVERYTHING[:2]) if kind.endswith("Monitor") or kind == "PrometheusRule"]


def test_egress_is_closed_but_for_names_and_what_is_given(render):
    policy = render(*EVERYTHING)["NetworkPolicy", "pertoken"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443, 9090}
    assert "egress" not in render("--set", "networkPolicy.enabled=true")["NetworkPolicy", "pertoken"]["spec"]


def test_dashboards_are_config_maps_with_the_sidecars_label(render):
    manifests = render(*EVERYTHING)
    shown = [manifest for (kind, name), manifest in manifests.items() if kind == "ConfigMap" and "dashboard" in name]
    files = sorted(path.name for path in (CHART / "files" / "dashboards").glob("*.json"))
    assert sorted(name for manifest in shown for name in manifest["data"]) == [f"pertoken-{name}" for name in files]
    for manifest in shown:
        assert manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert manifest["metadata"]["annotations"] == {"grafana_folder": "pertoken"}
        for text in manifest["data"].values():
            assert json.loads(text)["uid"]


@pytest.mark.parametrize("values", sorted((CHART / "ci").glob("*.yaml")), ids=lambda path: path.name)
def test_ready_made_values_render_and_start(render, monkeypatch, values: Path):
    for name, value in settings_of(render("-f", str(values), *MONITORING)).items():
        monkeypatch.setenv(name, value)
    assert Settings().all_metrics_profiles()
