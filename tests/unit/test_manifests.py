import base64
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.deployed import settings_of
from tests.kubernetes import WORKLOADS, Resource, of_kind, ours, overlay_of, pod_of, rendered
from worker.broker.topology import enrich_queue, topology_of
from worker.broker.users import users_of
from worker.settings import Settings, load

OVERLAYS = ("overlays/dev", "overlays/prod")
overlay = pytest.mark.parametrize("folder", OVERLAYS)
TRIGGER_KEYS = {"protocol", "queueName", "mode", "value", "activationValue", "vhostName"}
"""Of KEDA's RabbitMQ scaler: https://keda.sh/docs/latest/scalers/rabbitmq-queue/"""


def container_of(workload: Resource) -> dict[str, Any]:
    (container,) = pod_of(workload)["containers"]
    return container


def component_of(workload: Resource) -> str:
    return workload["metadata"]["labels"]["app.kubernetes.io/component"]


def url_of(workload: Resource) -> str:
    """The role under whose user of the broker a workload runs."""
    (secret,) = (each["secret"] for each in pod_of(workload)["volumes"] if each["name"] == "secrets")
    (key,) = (each["key"] for each in secret["items"] if each["path"] == "amqp-url")
    return str(key).removeprefix("amqp-url-")


def environment_of(resources: tuple[Resource, ...], workload: Resource) -> dict[str, str]:
    container = container_of(workload)
    maps = of_kind(resources, "ConfigMap")
    return {
        **{
            key: value
            for source in container["envFrom"]
            for key, value in maps[source["configMapRef"]["name"]]["data"].items()
        },
        **{each["name"]: each["value"] for each in container["env"]},
    }


def effective(folder: str, workload: Resource, place: Path) -> Settings:
    """The settings of a workload's process."""
    resources = rendered(folder)
    (toml,) = (
        each["data"]["aftercall.toml"]
        for name, each in of_kind(resources, "ConfigMap").items()
        if name.startswith("aftercall-toml")
    )
    return settings_of(environment_of(resources, workload), toml, place)


@overlay
def test_every_pod_keeps_to_the_restricted_profile(folder: str) -> None:
    for workload in of_kind(rendered(folder), *WORKLOADS).values():
        pod, container = pod_of(workload), container_of(workload)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
    (namespace,) = of_kind(rendered(folder), "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@overlay
def test_every_role_has_a_read_only_root_its_own_account_and_what_it_needs(folder: str) -> None:
    for workload in ours(rendered(folder)).values():
        container = container_of(workload)
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod_of(workload)["serviceAccountName"] == "aftercall"
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}, "a limit of CPU throttles, and helps nobody"
        assert re.search(r":\d+\.\d+|:local$", container["image"])
    (account,) = of_kind(rendered(folder), "ServiceAccount").values()
    assert account["automountServiceAccountToken"] is False


@overlay
def test_a_role_is_probed_on_the_admin_port_and_has_longer_to_end_than_it_takes(folder: str, tmp_path: Path) -> None:
    for workload in ours(rendered(folder), "Deployment", "StatefulSet").values():
        container = container_of(workload)
        settings = effective(folder, workload, tmp_path)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert (settings.admin_host, settings.admin_port) == ("0.0.0.0", ports["admin"])
        probes = {each: container[f"{each}Probe"]["httpGet"] for each in ("startup", "liveness", "readiness")}
        assert {each["port"] for each in probes.values()} == {"admin"}
        assert [each["path"] for each in probes.values()] == ["/livez", "/livez", "/readyz"]
        pause_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod_of(workload)["terminationGracePeriodSeconds"] >= pause_s + settings.grace_s + 10


@overlay
def test_the_settings_of_every_role_can_be_used_and_its_secrets_are_those_it_mounts(
    folder: str, tmp_path: Path
) -> None:
    for workload in ours(rendered(folder)).values():
        effective(folder, workload, tmp_path)
        (secret,) = (each["secret"] for each in pod_of(workload)["volumes"] if each["name"] == "secrets")
        mounted = {f"/run/secrets/aftercall/{item['path']}" for item in secret["items"]}
        read = {value for key, value in environment_of(rendered(folder), workload).items() if key.endswith("_FILE")}
        assert read == mounted


@overlay
def test_the_subscribers_that_run_are_those_that_have_a_queue(folder: str, tmp_path: Path) -> None:
    workloads = ours(rendered(folder))
    settings = effective(folder, workloads["aftercall-topology"], tmp_path)

    consumed = [
        container_of(each)["args"][1] for each in workloads.values() if container_of(each)["args"][0] == "consume"
    ]
    assert {*consumed} - {"enrich"} == set(settings.subscribers)
    assert settings.topology == "check", "the job declares, and nobody else"
    assert container_of(workloads["aftercall-topology"])["args"] == ["topology", "apply"]


def test_what_runs_twice_is_spread_and_survives_a_node_that_is_drained() -> None:
    resources = rendered("overlays/prod")
    budgets = of_kind(resources, "PodDisruptionBudget")
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(resources, "ScaledObject").values()}
    several = {
        name: each
        for name, each in ours(resources, "Deployment", "StatefulSet").items()
        if name in scaled or each["spec"]["replicas"] > 1
    }

    assert several.keys() == {"aftercall-endpoint", "aftercall-enricher"}
    for name, workload in several.items():
        selected = workload["spec"]["selector"]["matchLabels"]
        assert budgets[name]["spec"]["selector"]["matchLabels"] == selected
        assert budgets[name]["spec"]["maxUnavailable"] == 1
        spread = pod_of(workload)["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert all(each["labelSelector"]["matchLabels"] == selected for each in spread)


def test_the_endpoint_waits_for_the_proxies_and_its_spool_is_never_taken_away(tmp_path: Path) -> None:
    endpoint = ours(rendered("base"))["aftercall-endpoint"]
    settings = effective("base", endpoint, tmp_path)

    (claim,) = endpoint["spec"]["volumeClaimTemplates"]
    (mounted,) = (
        each["mountPath"]
        for each in container_of(endpoint)["volumeMounts"]
        if each["name"] == claim["metadata"]["name"]
    )
    assert settings.spool_dir.startswith(f"{mounted}/")
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert settings.spool_max_bytes <= 2**30
    assert set(endpoint["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    assert container_of(endpoint)["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5


def test_the_spool_may_lie_in_the_pod_where_there_are_no_volumes(tmp_path: Path) -> None:
    endpoint = ours(overlay_of(tmp_path, "emptydir-spool"))["aftercall-endpoint"]

    assert "volumeClaimTemplates" not in endpoint["spec"]
    assert {"name": "spool", "emptyDir": {"sizeLimit": "2Gi"}} in pod_of(endpoint)["volumes"]


def test_nothing_goes_in_or_out_but_what_is_named() -> None:
    policies = of_kind(rendered("overlays/prod"), "NetworkPolicy")
    everything = {"matchLabels": {"app.kubernetes.io/name": "aftercall"}}
    denied = policies["aftercall-default-deny"]["spec"]

    assert denied == {"podSelector": everything, "policyTypes": ["Ingress", "Egress"]}
    incoming = {name: each["spec"]["ingress"] for name, each in policies.items() if "ingress" in each["spec"]}
    assert incoming.keys() == {"aftercall-endpoint", "aftercall-metrics"}
    assert incoming["aftercall-endpoint"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    (metrics,) = incoming["aftercall-metrics"]
    assert metrics["from"], "the admin port is open to Prometheus alone"
    for block in policies["aftercall-outside"]["spec"]["egress"][0]["to"]:
        assert block["ipBlock"]["except"], "what is near is not the internet"
    for workload in ours(rendered("overlays/prod")).values():
        assert workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == "aftercall"


def test_enrichers_are_added_by_the_time_to_drain_and_never_beyond_what_vapi_allows(tmp_path: Path) -> None:
    resources = rendered("overlays/prod")
    scaled = of_kind(resources, "ScaledObject")["aftercall-enricher"]
    enricher = ours(resources)["aftercall-enricher"]
    settings = effective("overlays/prod", enricher, tmp_path)

    (trigger,) = scaled["spec"]["triggers"]
    metadata = trigger["metadata"]
    assert metadata.keys() <= TRIGGER_KEYS
    assert (metadata["mode"], metadata["protocol"]) == ("ExpectedQueueConsumptionTime", "http"), "the mode needs http"
    assert metadata["queueName"] in [enrich_queue(account.name) for account in settings.accounts]
    allowed = float(scaled["metadata"]["annotations"]["aftercall/vapi-requests-per-second"])
    surge = enricher["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    asking = scaled["spec"]["maxReplicaCount"] + surge + ours(resources)["aftercall-sweep"]["spec"]["replicas"]
    assert asking * settings.vapi_rate <= allowed
    assert scaled["spec"]["minReplicaCount"] >= 2
    assert "replicas" not in enricher["spec"], "two would set it, in turns"


def test_the_operators_never_delete_calls_and_each_role_has_a_user_with_its_own_rights(tmp_path: Path) -> None:
    resources = rendered("overlays/prod")
    settings = effective("overlays/prod", ours(resources)["aftercall-topology"], tmp_path)
    users = users_of(topology_of(settings))

    assert of_kind(resources, "Vhost")["aftercall"]["spec"]["deletionPolicy"] == "retain"
    assert not of_kind(resources, "Queue", "Exchange", "Binding"), "the job declares them"
    permissions = of_kind(resources, "Permission")
    assert {url_of(each) for each in ours(resources).values()} | {"operator", "monitor"} == {
        name.removeprefix("aftercall-") for name in permissions
    }
    assert permissions.keys() == of_kind(resources, "User").keys()
    for user in (user for user in users.values() if user.name in permissions):
        rights = {"configure": user.configure, "write": user.write, "read": user.read}
        assert permissions[user.name]["spec"]["permissions"] == rights
    passwords = {each["spec"]["importCredentialsSecret"]["name"] for each in of_kind(resources, "User").values()}
    assert passwords == of_kind(resources, "ExternalSecret").keys() - {"aftercall"}


def test_each_role_has_a_user_of_its_own(tmp_path: Path) -> None:
    workloads = ours(overlay_of(tmp_path, "postcall", "crm", "forward", "alerts")).values()
    mounted = {component_of(workload): url_of(workload) for workload in workloads}

    named = {"endpoint": "webhook", "enricher": "enrich"}
    assert mounted == {name: named.get(name, name) for name in mounted}
    users = users_of(topology_of(load({"AFTERCALL_SUBSCRIBERS": "ledger,postcall,crm,forward,alerts"}, tmp_path)))
    assert set(mounted.values()) <= users.keys()


def test_the_secret_store_gives_every_key_that_is_mounted() -> None:
    resources = rendered("overlays/prod")
    given = of_kind(resources, "ExternalSecret")["aftercall"]["spec"]["target"]["template"]["data"]

    mounted = {
        item["key"]
        for workload in ours(resources).values()
        for volume in pod_of(workload)["volumes"]
        if "secret" in volume
        for item in volume["secret"]["items"]
    }
    assert mounted | {"management-url"} == given.keys()
    for secret in of_kind(resources, "ExternalSecret").values():
        known = [each["secretKey"] for each in secret["spec"]["data"]]
        used = re.findall(r"\{\{ \.(\w+)", str(secret["spec"]["target"]["template"]["data"]))
        assert sorted(known) == sorted(used)
    assert not of_kind(resources, "Secret"), "no secret stands in a manifest for production"


def test_the_broker_of_the_dev_overlay_knows_the_user_of_the_roles() -> None:
    resources = rendered("overlays/dev")
    (secret,) = (each for name, each in of_kind(resources, "Secret").items() if fnmatch(name, "aftercall-*"))
    (broker,) = (each for name, each in of_kind(resources, "ConfigMap").items() if fnmatch(name, "rabbitmq-*"))

    keys = {f"amqp-url-{url_of(each)}" for each in ours(resources).values()}
    urls = {base64.b64decode(secret["data"][key]).decode() for key in keys}
    known = dict(line.split(" = ") for line in broker["data"]["rabbitmq.conf"].splitlines())
    assert urls == {f"amqp://{known['default_user']}:{known['default_pass']}@rabbitmq:5672/"}
