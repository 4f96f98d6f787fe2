"""What deploy/kubernetes and the Helm chart make: valid, locked down, and in step with the gateway."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_gateway.config.fields import SECRET
from ai_gateway.config.settings import Settings, marked
from ai_gateway.observability.families import IN_FLIGHT, PREFIX
from scripts.release_check import version
from tests.deploy.manifests import CHART, FOREIGN, KUSTOMIZE, Manifest, built, kubectl, rendered, sources, values
from tests.support.schemas_of_tools import kubernetes_violations

OLDEST, NEWEST = "1.29", "1.37"
VALUES: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "one replica": {"stores": {"external": False}},
    "one replica that keeps nothing": {"stores": {"external": False}, "persistence": {"enabled": False}},
    "an ingress": {"ingress": {"enabled": True, "host": "llm.example.com"}},
    "a service monitor": {"serviceMonitor": {"enabled": True}},
    "an autoscaler": {"autoscaling": {"enabled": True}},
    "a load balancer": {"service": {"type": "LoadBalancer"}, "networkPolicy": {"fromBlocks": ["10.0.0.0/8"]}},
    "everything": {
        "administration": True,
        "autoscaling": {"enabled": True},
        "config": '[providers.lab]\nbase_url = "http://lab/v1"\n',
        "gracePeriodSeconds": 120,
        "drainDelaySeconds": 10,
        "image": {"digest": f"sha256:{'0' * 64}", "repository": "registry.example.com/ai-gateway"},
        "imagePullSecrets": [{"name": "registry"}],
        "ingress": {"enabled": True, "className": "nginx", "host": "llm.example.com", "tlsSecret": "llm-tls"},
        "networkPolicy": {"fromNamespaces": ["ingress-nginx", "models"]},
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "models"},
        "priorityClassName": "high",
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "settings": {"LOG_LEVEL": "warning", "REQUEST_MAX_SIZE": "20971520"},
        "tolerations": [{"key": "arch", "operator": "Exists"}],
    },
}
# Of each way to install it, the manifests.
WAYS: dict[str, Callable[[], list[Manifest]]] = {
    **{f"chart, {name}": partial(rendered, changed) for name, changed in VALUES.items()},
    "folders, as they are written": lambda: [manifest for _, manifest in sources()],
    "folders, single": lambda: list(built("single")),
    "folders, production": lambda: list(built("production")),
}


@pytest.fixture(scope="module", params=WAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """Nothing of the overlays where there is no kubectl: their resources are among those as they are written."""
    made = WAYS[request.param]()
    assert made or kubectl() is None
    return made


def _of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def _the(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = _of_kind(manifests, kind)
    return found


def _pods(manifests: list[Manifest]) -> list[Manifest]:
    return [manifest["spec"]["template"] for manifest in _of_kind(manifests, "Deployment", "Job")]


def _variables(container: Manifest) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container.get("env", [])}


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_every_manifest_is_valid(manifests: list[Manifest], kubernetes: str) -> None:
    for manifest in manifests:
        if manifest["kind"] not in FOREIGN:
            assert kubernetes_violations(manifest, kubernetes) == [], manifest["kind"]


def test_the_schemas_tell_what_is_invalid() -> None:
    service = _the(rendered({}), "Service")
    assert kubernetes_violations({**service, "spec": {**service["spec"], "portz": []}}, NEWEST)
    assert kubernetes_violations({**service, "spec": {"ports": [{"port": "http"}]}}, OLDEST)


def test_a_pod_runs_with_nothing_that_it_does_not_need(manifests: list[Manifest]) -> None:
    for pod in _pods(manifests):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]
            assert "/var/lib/ai-gateway" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_a_pod_has_the_time_that_its_gateway_takes_to_stop(manifests: list[Manifest]) -> None:
    defaults = Settings()
    for deployment in _of_kind(manifests, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        set_here = _variables(container)
        grace = float(set_here.get("GRACE_PERIOD_S", defaults.grace_period_s))
        drain = float(set_here.get("DRAIN_DELAY_S", defaults.drain_delay_s))
        assert spec["terminationGracePeriodSeconds"] == math.ceil(grace + drain + 5)
        assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", f"{drain:.0f}"]


def test_every_variable_of_a_pod_is_a_setting_and_no_secret_is_one(manifests: list[Manifest]) -> None:
    settings = {name.upper() for name in Settings.model_fields}
    secrets = {name.upper() for name in marked(SECRET)}
    for pod in _pods(manifests):
        (container,) = pod["spec"]["containers"]
        for name, value in _variables(container).items():
            if name.endswith("_FILE"):
                assert name.removesuffix("_FILE") in secrets
                assert value == f"/run/secrets/ai-gateway/{name.removesuffix('_FILE')}"
            else:
                assert name in settings - secrets


def test_secrets_are_those_that_the_operator_has_made(manifests: list[Manifest]) -> None:
    assert _of_kind(manifests, "Secret") == []
    for pod in _pods(manifests):
        mounted = [volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume]
        assert mounted == [{"secretName": "ai-gateway", "defaultMode": 0o440}]
        (container,) = pod["spec"]["containers"]
        for source in container.get("envFrom", []):
            assert source == {"secretRef": {"name": "ai-gateway-providers", "optional": True}}


def test_probes_ask_what_says_so_and_give_a_start_a_minute(manifests: list[Manifest]) -> None:
    for deployment in _of_kind(manifests, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
        startup = container["startupProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 60
        assert container["ports"] == [{"name": "http", "containerPort": Settings().service_port}]


def test_everything_that_selects_the_gateways_pods_selects_them(manifests: list[Manifest]) -> None:
    for deployment in _of_kind(manifests, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        selectors = [deployment["spec"]["selector"]["matchLabels"]]
        selectors += [each["spec"]["selector"]["matchLabels"] for each in _of_kind(manifests, "PodDisruptionBudget")]
        selectors += [each["spec"]["selector"] for each in _of_kind(manifests, "Service")]
        selectors += [each["spec"]["podSelector"]["matchLabels"] for each in _of_kind(manifests, "NetworkPolicy")]
        spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        selectors += [each["labelSelector"]["matchLabels"] for each in spread]
        assert all(selector.items() <= labels for selector in selectors)


def test_only_the_gateways_own_pods_are_selected_and_not_the_migration(manifests: list[Manifest]) -> None:
    for job in _of_kind(manifests, "Job"):
        labels = job["spec"]["template"]["metadata"]["labels"].items()
        for service in _of_kind(manifests, "Service"):
            assert not service["spec"]["selector"].items() <= labels
        for policy in _of_kind(manifests, "NetworkPolicy"):
            assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels


def test_no_pod_can_ask_a_node_for_its_credentials(manifests: list[Manifest]) -> None:
    for policy in _of_kind(manifests, "NetworkPolicy"):
        if policy["metadata"]["name"] == "ai-gateway-monitoring":  # which only adds who may call
            assert policy["spec"]["policyTypes"] == ["Ingress"]
            continue
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]
        excepted = {block["cidr"]: block["except"] for block in blocks}
        assert "169.254.0.0/16" in excepted["0.0.0.0/0"]
        assert {"fe80::/10", "fd00:ec2::254/128"} <= set(excepted["::/0"])
        assert all(rule["ports"] for rule in policy["spec"]["egress"] if any("ipBlock" in to for to in rule["to"]))


def _admitted(manifests: list[Manifest]) -> set[str]:
    """The namespaces and blocks of addresses that may call."""
    rules = [rule for policy in _of_kind(manifests, "NetworkPolicy") for rule in policy["spec"]["ingress"]]
    found = set()
    for sender in (sender for rule in rules for sender in rule["from"]):
        if "ipBlock" in sender:
            found.add(sender["ipBlock"]["cidr"])
        elif name := sender.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name"):
            found.add(name)
    return found


def test_who_is_installed_to_call_is_let_in(manifests: list[Manifest]) -> None:
    admitted = _admitted(manifests)
    assert not _of_kind(manifests, "Ingress") or "ingress-nginx" in admitted
    assert not _of_kind(manifests, "ServiceMonitor", "HorizontalPodAutoscaler") or "monitoring" in admitted


def test_what_runs_before_the_rest_needs_nothing_of_it(manifests: list[Manifest]) -> None:
    """Helm and Argo CD make a hook's job first, and everything else when it is done."""
    for job in _of_kind(manifests, "Job"):
        spec = job["spec"]["template"]["spec"]
        assert {"helm.sh/hook", "argocd.argoproj.io/hook"} & set(job["metadata"]["annotations"])
        assert "serviceAccountName" not in spec
        assert not [volume for volume in spec["volumes"] if "configMap" in volume or "persistentVolumeClaim" in volume]


def test_a_service_monitor_and_an_autoscaler_find_the_gateway(manifests: list[Manifest]) -> None:
    for monitor in _of_kind(manifests, "ServiceMonitor"):
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        assert monitor["spec"]["endpoints"][0] | {"interval": ""} == {
            "port": "http",
            "path": "/metrics",
            "interval": "",
        }
        for service in _of_kind(manifests, "Service"):
            labels = service["metadata"].get("labels", {})
            kustomized = "app.kubernetes.io/name" in labels  # which kustomize adds to what is written
            assert not kustomized or monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for scaler in _of_kind(manifests, "HorizontalPodAutoscaler"):
        named = {deployment["metadata"]["name"] for deployment in _of_kind(manifests, "Deployment")}
        assert scaler["spec"]["scaleTargetRef"]["name"] in named


# --- of kustomize's folders ------------------------------------------------------------------------------------------


def test_the_adapter_serves_the_metric_that_the_autoscaler_asks_for() -> None:
    monitoring = KUSTOMIZE / "components" / "monitoring"
    scaler = yaml.safe_load((monitoring / "horizontalpodautoscaler.yaml").read_text("utf-8"))
    (metric,) = scaler["spec"]["metrics"]
    adapter = yaml.safe_load((monitoring / "prometheus-adapter-values.yaml").read_text("utf-8"))
    (rule,) = adapter["rules"]["custom"]
    assert rule["name"]["as"] == metric["pods"]["metric"]["name"] == f"{PREFIX}{IN_FLIGHT.name}"
    assert rule["seriesQuery"].startswith("ai_gateway_requests_in_flight{")


def _kustomizations() -> list[Path]:
    return sorted(KUSTOMIZE.rglob("kustomization.yaml"))


@pytest.mark.parametrize("path", _kustomizations(), ids=lambda path: path.parent.name)
def test_a_kustomization_names_only_what_is_there_and_all_of_it(path: Path) -> None:
    document = yaml.safe_load(path.read_text("utf-8"))
    named = [*document.get("resources", []), *document.get("components", [])]
    named += [patch["path"] for patch in document.get("patches", []) if "path" in patch]
    named += [file for made in document.get("configMapGenerator", []) for file in made["files"]]
    assert all((path.parent / name).exists() for name in named)
    there = {each.name for each in path.parent.iterdir() if each.is_file()}
    assert there - {path.name, "prometheus-adapter-values.yaml"} == {name for name in named if "/" not in name}


def test_the_overlays_are_what_they_say() -> None:
    if kubectl() is None:
        return  # what they are made of is tested above
    single, production = list(built("single")), list(built("production"))
    assert _the(single, "Deployment")["spec"]["replicas"] == 1
    assert _the(single, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    volumes = _the(single, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "ai-gateway"}} in volumes
    assert not _of_kind(single, "Job", "PodDisruptionBudget", "HorizontalPodAutoscaler")

    assert "replicas" not in _the(production, "Deployment")["spec"]
    assert _of_kind(production, "Job", "ServiceMonitor", "HorizontalPodAutoscaler", "PodDisruptionBudget")
    (container,) = _the(production, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"STORE_URL_FILE", "VALKEY_URL_FILE", "ADMIN_API_KEY_FILE", "ALLOWED_API_KEYS_FILE"} <= set(
        _variables(container)
    )
    images = {pod["spec"]["containers"][0]["image"] for pod in _pods([*single, *production])}
    assert images == {f"ai-gateway:{version()}"}


# --- of the chart ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"existingSecret": ""},
        {"settings": {"OPENAI_API_KEY": 5}},
        {"settings": {"STORE_URL": "postgresql://user:password@db/gateway"}},
        {"settings": {"GRACE_PERIOD_S": "60"}},
        {"settings": {"SERVICE_PORT": "8000"}},  # which the service and the probes do not know
        {"settings": {"SSL_CERTFILE": "/run/tls.crt"}},
        {"imagee": {}},
        {"image": {"digest": "latest"}},
        {"replicaCount": 0},
    ],
)
def test_values_that_would_not_work_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        values(changed)


def test_a_network_policy_lets_in_who_the_values_name() -> None:
    ingress = {"enabled": True, "host": "llm.example.com", "namespace": "edge"}
    monitor = {"enabled": True, "namespace": "watch"}
    given = {"ingress": ingress, "serviceMonitor": monitor, "networkPolicy": {"fromNamespaces": ["edge", "models"]}}
    assert _admitted(rendered(given)) == {"edge", "watch", "models"}
    assert _admitted(rendered(VALUES["a load balancer"])) == {"10.0.0.0/8"}
    with pytest.raises(Exception, match=r"networkPolicy\.fromBlocks is empty"):
        rendered({"service": {"type": "NodePort"}})
    open_to_all = rendered({"service": {"type": "NodePort"}, "networkPolicy": {"enabled": False}})
    assert not _of_kind(open_to_all, "NetworkPolicy")


def test_the_schema_of_the_values_knows_all_of_them() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text("utf-8"))["properties"]
    defaults = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert set(schema) - {"global"} == set(defaults)
    for name, value in defaults.items():
        if isinstance(value, dict) and "properties" in schema[name]:
            assert set(schema[name]["properties"]) == set(value), name


def test_values_reach_the_manifests() -> None:
    everything = rendered(VALUES["everything"])
    deployment = _the(everything, "Deployment")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["image"] == f"registry.example.com/ai-gateway@sha256:{'0' * 64}"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 135
    assert pod["metadata"]["labels"]["team"] == "models"
    assert _variables(container)["REQUEST_MAX_SIZE"] == "20971520"
    assert "replicas" not in deployment["spec"]  # the autoscaler decides
    assert _the(everything, "ConfigMap")["data"]["gateway.toml"].strip() == VALUES["everything"]["config"].strip()
    assert _the(everything, "Ingress")["spec"]["tls"] == [{"secretName": "llm-tls", "hosts": ["llm.example.com"]}]
    assert rendered({})[1]["spec"]["replicas"] == 3


def test_other_contents_of_gateway_toml_replace_the_pods() -> None:
    def checksum(config: str) -> str:
        pod = _the(rendered({"config": config}), "Deployment")["spec"]["template"]
        return str(pod["metadata"]["annotations"]["checksum/config"])

    assert checksum("a = 1") == checksum("a = 1") != checksum("a = 2")


def test_a_release_is_named_once() -> None:
    assert _the(rendered({}, release="blue"), "Service")["metadata"]["name"] == "blue-ai-gateway"
    assert _the(rendered({}, release="ai-gateway"), "Service")["metadata"]["name"] == "ai-gateway"


def test_the_schema_is_migrated_before_a_release_and_by_a_job_that_needs_nothing_of_it() -> None:
    job = _the(rendered({}), "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    assert not [volume for volume in spec["volumes"] if "configMap" in volume or "persistentVolumeClaim" in volume]
    assert spec["containers"][0]["args"] == ["store", "migrate"]
