"""The Kubernetes manifests: their structure everywhere, kustomize and the schemas where their tools are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from openfall.config import Settings, load
from openfall.producers.gateway.serve import GRACE_SECONDS
from openfall.workers.service_manager import ALIVE_FILE, ALIVE_FILE_SECONDS, STOP_RESERVE_SECONDS

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text("utf-8"))
RESOURCES: list[dict[str, Any]] = [
    resource
    for file in KUSTOMIZATION["resources"]
    for resource in yaml.safe_load_all((DEPLOY / file).read_text("utf-8"))
]
PODS = {each["metadata"]["name"]: each["spec"] for each in RESOURCES if each["kind"] in ("Deployment", "StatefulSet")}
OWN = ("openfall-gateway", "openfall-work-cloud", "openfall-degrade")


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in RESOURCES if each["kind"] == kind]


def container(name: str) -> dict[str, Any]:
    (only,) = PODS[name]["template"]["spec"]["containers"]
    return dict(only)


def variables(name: str) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container(name)["env"]}


def test_it_has_a_valkey_a_gateway_workers_of_a_pool_and_a_degrade_worker() -> None:
    assert set(PODS) == {"valkey", *OWN}
    assert {name: container(name)["args"] for name in OWN} == {
        "openfall-gateway": ["serve"],
        "openfall-work-cloud": ["work", "cloud"], "openfall-degrade": ["work", "degrade"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["valkey", *OWN])
def test_a_pod_has_no_rights_that_it_does_not_need(name: str) -> None:
    pod, security = PODS[name]["template"]["spec"], container(name)["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container(name)["resources"]["limits"]


@pytest.mark.parametrize("name", ["valkey", *OWN])
def test_a_pod_is_selected_by_the_labels_that_it_has_and_has_each_volume_that_it_mounts(name: str) -> None:
    template = PODS[name]["template"]
    assert PODS[name]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    claims = {claim["metadata"]["name"] for claim in PODS[name].get("volumeClaimTemplates", ())}
    volumes = {volume["name"] for volume in template["spec"]["volumes"]} | claims
    assert {mount["name"] for mount in container(name)["volumeMounts"]} == volumes


@pytest.mark.parametrize("name", ["valkey", *OWN])
def test_a_pod_has_a_probe_for_its_start_for_its_traffic_and_for_its_life(name: str) -> None:
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container(name))


@pytest.mark.parametrize("name", OWN)
def test_the_probe_of_its_life_looks_at_the_file_that_its_loop_touches_and_not_at_redis(name: str) -> None:
    command = container(name)["livenessProbe"]["exec"]["command"][-1]
    assert command == f'test -n "$(find {variables(name)[ALIVE_FILE]} -mmin -{ALIVE_FILE_SECONDS / 60:g})"'


@pytest.mark.parametrize("name", OWN)
def test_a_pod_gets_longer_to_stop_than_its_own_grace(name: str) -> None:
    grace = (
        GRACE_SECONDS if name == "openfall-gateway" else Settings(source=DEPLOY, data_dir=DEPLOY).workers.shutdown_grace
    )
    assert PODS[name]["template"]["spec"]["terminationGracePeriodSeconds"] >= grace + STOP_RESERVE_SECONDS


@pytest.mark.parametrize("name", OWN)
def test_keys_are_files_and_the_password_of_redis_comes_from_a_secret(name: str) -> None:
    env = {each["name"]: each for each in container(name)["env"]}
    assert env["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "openfall-redis", "key": "password"}
    assert list(env).index("REDIS_PASSWORD") < list(env).index("REDIS_URL"), "only an earlier variable is filled in"
    mounts = {mount["mountPath"]: mount["name"] for mount in container(name)["volumeMounts"]}
    assert mounts[variables(name)["CREDENTIALS_DIRECTORY"]] == "keys"
    assert variables(name)["STATE_DIRECTORY"] in mounts


def test_pods_that_serve_may_not_all_be_evicted_at_once() -> None:
    budgets = {
        each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] for each in of_kind("PodDisruptionBudget")
    }
    assert budgets == set(OWN)


def test_workers_are_scaled_by_the_oldest_age_and_the_depth_of_their_pool() -> None:
    (scaled,) = of_kind("ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] == "openfall-work-cloud"
    assert "replicas" not in PODS["openfall-work-cloud"], "two owners of one number"
    queries = " ".join(trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"])
    page = (DEPLOY.parent / "docs" / "metrics.md").read_text("utf-8")
    for metric in ("openfall_queue_oldest_seconds", "openfall_queue_jobs"):
        assert f'{metric}{{pool="cloud"' in queries
        assert metric in page
    targets = load(DEPLOY / "kubernetes" / "openfall.yaml", environ={"REDIS_URL": "redis://valkey"}).catalog.urgency
    ages = {t["name"]: float(t["metadata"]["threshold"]) for t in scaled["spec"]["triggers"] if t["name"] != "depth"}
    assert ages == {f"oldest-{word}-seconds": targets[word].start_within for word in ("interactive", "background")}  # type: ignore[index]


def test_nothing_reaches_a_pod_but_what_a_policy_names() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind("NetworkPolicy")}
    assert policies["openfall-closed"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (rule,) = policies["openfall-valkey"]["ingress"]
    assert rule["from"][0]["podSelector"]["matchExpressions"][0]["values"] == list(OWN)
    assert "egress" not in policies["openfall-valkey"]


def test_its_configuration_loads_and_its_gateway_is_reached_by_other_pods() -> None:
    config = load(DEPLOY / "kubernetes" / "openfall.yaml", environ={"REDIS_URL": "redis://:x@valkey:6379/0"})
    assert config.missing == ()
    assert config.catalog.models_of("cloud")
    port = container("openfall-gateway")["ports"][0]["containerPort"]
    assert config.settings.gateway.listen == (f"0.0.0.0:{port}",)
    files = [file for generator in KUSTOMIZATION["configMapGenerator"] for file in generator["files"]]
    assert all((DEPLOY / file).is_file() for file in files)


def test_every_image_has_a_version() -> None:
    named = {image["name"]: image["newTag"] for image in KUSTOMIZATION["images"]}
    for name in PODS:
        image = container(name)["image"]
        assert re.search(r":v?\d", image) or re.fullmatch(r"\d+\.\d+\.\d+", named[image]), image


def build() -> str:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(DEPLOY)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_kustomize_builds_it() -> None:
    resources = list(yaml.safe_load_all(build()))
    assert len(resources) == len(RESOURCES) + len(KUSTOMIZATION["configMapGenerator"])
    assert {each["metadata"].get("namespace") for each in resources if each["kind"] != "Namespace"} == {"openfall"}


def test_the_schemas_of_kubernetes_take_it(tmp_path: Path) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for resource in yaml.safe_load_all(build()):
        if resource["kind"] != "ScaledObject":  # KEDA's own schema is not among them
            validator.validate(resource, validator.latest_version(), strict=True)
