"""The Helm chart, rendered and linted by Helm's own engine and held to Kubernetes' schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import Chart, HelmError, lint

from telltale.app import STAGES
from telltale.cli import COMMANDS
from telltale.commands.topics import READERS
from telltale.delivery.kafka import group_name, topic_name
from telltale.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "chart"
VALUES = yaml.safe_load((FOLDER / "values.yaml").read_text())
GPU = yaml.safe_load((FOLDER / "values-gpu.yaml").read_text())
KUBERNETES = "1.33"
KEDA = {"keda": {"enabled": True, "authentication": "kafka-sasl"}}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {}, "gpu": GPU, "keda": {**KEDA, "settings": {"TOPIC_PREFIX": "eu."}},
}  # fmt: skip


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    files = Chart.load(FOLDER).render(values, name="tt", namespace="judging")
    return [found for text in files.values() for found in yaml.safe_load_all(text) if found]


def containers(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pods = [m["spec"]["template"]["spec"] for m in manifests if m["kind"] in ("Deployment", "Job")]
    return [container for pod in pods for container in pod["containers"]]


@pytest.fixture(params=sorted(VARIANTS))
def manifests(request) -> list[dict[str, Any]]:
    return rendered(VARIANTS[request.param])


def test_helm_finds_nothing_to_mend() -> None:
    found = lint(str(FOLDER))
    assert not found["errors"]
    assert [m["error"] for m in found["messages"]] == ["icon is recommended"]


def test_kubernetes_would_take_it(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        if manifest["kind"] != "ScaledObject":  # KEDA's own kind is not in Kubernetes' schemas
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(names) == len(set(names))


def test_every_stage_is_a_deployment_of_its_own(manifests: list[dict[str, Any]]) -> None:
    found = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Deployment"}
    assert set(found) == {f"tt-{stage}" for stage in STAGES}
    for stage in STAGES:
        pod = found[f"tt-{stage}"]["spec"]["template"]["spec"]
        assert pod["containers"][0]["args"] == ["worker", stage]
        selector = found[f"tt-{stage}"]["spec"]["selector"]["matchLabels"]
        assert selector["app.kubernetes.io/component"] == stage


def test_every_command_and_setting_that_is_used_exists(manifests: list[dict[str, Any]]) -> None:
    known = {f"TELLTALE_{name.upper()}" for name in Settings.model_fields}
    for container in containers(manifests):
        assert container["args"][0] in COMMANDS
        used = {variable["name"] for variable in container["env"]}
        assert used <= known, f"{container['name']} sets {used - known}"


def test_pods_meet_the_restricted_standard(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        if manifest["kind"] not in ("Deployment", "Job"):
            continue
        pod = manifest["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_secrets_come_from_a_secret_only(manifests: list[dict[str, Any]]) -> None:
    for container in containers(manifests):
        assert container["envFrom"] == [{"secretRef": {"name": "telltale"}}]
        names = {variable["name"] for variable in container["env"]}
        assert not {n for n in names if "PASSWORD" in n or "DSN" in n or "KEY" in n}


def test_probes_and_prometheus_ask_the_port_that_the_worker_opens(
    manifests: list[dict[str, Any]],
) -> None:
    for manifest in manifests:
        if manifest["kind"] != "Deployment":
            continue
        (worker,) = containers([manifest])
        given = {v["name"]: v.get("value") for v in worker["env"]}
        port = {"name": "pages", "containerPort": int(given["TELLTALE_WORKER_PORT"])}
        assert worker["ports"] == [port]
        assert given["TELLTALE_WORKER_HOST"] == "0.0.0.0", "asked from outside the container"
        for probe, page in (
            ("startupProbe", "readyz"), ("readinessProbe", "readyz"), ("livenessProbe", "healthz"),
        ):  # fmt: skip
            assert worker[probe]["httpGet"] == {"path": f"/{page}", "port": "pages"}
        asked = manifest["spec"]["template"]["metadata"]["annotations"]
        assert asked["prometheus.io/port"] == given["TELLTALE_WORKER_PORT"]
        assert asked["prometheus.io/path"] == "/metrics"


@pytest.mark.parametrize("prefix", ["", "eu."])
def test_each_stage_scales_by_the_lag_of_its_own_group(prefix: str) -> None:
    settings = Settings(topic_prefix=prefix)
    found = rendered({**KEDA, "settings": {"TOPIC_PREFIX": prefix}})
    scaled = {
        m["spec"]["scaleTargetRef"]["name"]: m["spec"] for m in found if m["kind"] == "ScaledObject"
    }
    assert set(scaled) == {f"tt-{stage}" for stage in STAGES}
    for stage in STAGES:
        triggers = scaled[f"tt-{stage}"]["triggers"]
        asked = {(t["metadata"]["consumerGroup"], t["metadata"]["topic"]) for t in triggers}
        read = [topic for topic, readers in READERS.items() if stage in readers]
        assert asked == {(group_name(settings, stage), topic_name(settings, t)) for t in read}
        assert all(t["type"] == "kafka" for t in triggers)
        assert all(t["authenticationRef"] == {"name": "kafka-sasl"} for t in triggers)
        assert scaled[f"tt-{stage}"]["maxReplicaCount"] <= int(
            VALUES["settings"]["KAFKA_PARTITIONS"]
        )
    # two owners of one number would fight over it
    assert all("replicas" not in m["spec"] for m in found if m["kind"] == "Deployment")


def test_without_keda_nothing_of_it_is_made() -> None:
    found = rendered({})
    assert {m["kind"] for m in found} == {"Deployment", "Job"}
    assert all(m["spec"]["replicas"] == 1 for m in found if m["kind"] == "Deployment")


def test_the_gpu_variant_gives_a_gpu_to_what_computes() -> None:
    with_gpu = {
        c["name"] for c in containers(rendered(GPU)) if "nvidia.com/gpu" in c["resources"]["limits"]
    }
    assert with_gpu == {"detect", "judge", "verify", "explain"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"stages": {"judgement": {"topics": ["x"], "replicas": 1, "max": 1, "lag": 1}}},
        {"settings": {"kafka_bootstrap": "x"}}, {"settings": {"PROFILE": 3}}, {"secret": ""},
        {"keda": {"enable": True}}, {"settings": {"KAFKA_PARTITIONS": "0"}},
    ],
    ids=["a stage that is none", "a name in small letters", "a number", "no secret", "a slip",
         "no partitions"],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(HelmError):
        Chart.load(FOLDER).validate_schema(wrong)


def test_preparation_runs_before_the_workers_of_a_version() -> None:
    (job,) = [m for m in rendered({}) if m["kind"] == "Job"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["up"]


@pytest.mark.parametrize(("given", "wanted"), [({}, "12"), ({"KAFKA_PARTITIONS": "96"}, "96")])
def test_topics_are_made_with_the_partitions_that_the_values_name(given, wanted) -> None:
    (job,) = [m for m in rendered({"settings": given}) if m["kind"] == "Job"]
    (prepare,) = containers([job])
    assert {"name": "TELLTALE_KAFKA_PARTITIONS", "value": wanted} in prepare["env"]


def test_a_worker_computes_with_the_cores_it_asked_for_unless_told_otherwise() -> None:
    def threads(values: dict[str, Any]) -> list[dict[str, Any]]:
        found = containers(rendered(values))
        return [e for c in found for e in c["env"] if e["name"] == "TELLTALE_THREADS"]

    asked = threads({})
    assert len(asked) == len(containers(rendered({})))
    assert all(e["valueFrom"]["resourceFieldRef"]["resource"] == "requests.cpu" for e in asked)
    assert {e["value"] for e in threads({"settings": {"THREADS": "4"}})} == {"4"}
