import copy
import re
from pathlib import Path

import pytest
import yaml

from tests.kubernetes import K8S, mistakes, of_kind, overlay_of, pod_of, rendered
from tests.node import MANIFESTS
from worker.broker.operator import as_yaml, topology_resources, user_resources
from worker.broker.topology import topology_of
from worker.broker.users import users_of
from worker.settings import load

pytestmark = pytest.mark.skipif(not (MANIFESTS / "node_modules").exists(), reason="`make node` brings the types")
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())


def test_every_resource_is_as_kubernetes_and_the_operators_have_it(tmp_path: Path) -> None:
    assert not mistakes([*rendered("base"), *rendered("overlays/dev"), *rendered("overlays/prod")], tmp_path)


def test_every_component_fits_the_base_alone(tmp_path: Path) -> None:
    known = list(rendered("base"))
    made = []
    for component in COMPONENTS:
        (tmp_path / component).mkdir()
        made += [each for each in overlay_of(tmp_path / component, component) if each not in known]

    assert made
    assert not mistakes(made, tmp_path)


def test_what_is_exported_for_the_topology_operator_is_as_it_has_it(tmp_path: Path) -> None:
    topology = topology_of(load({"AFTERCALL_VAPI_API_KEY": "k"}, tmp_path))
    declared = topology_resources(topology, "aftercall", "rabbitmq")
    users = user_resources(users_of(topology).values(), "aftercall", "rabbitmq")
    exported = list(yaml.safe_load_all(as_yaml([*declared, *users])))

    assert {each["spec"]["deletionPolicy"] for each in exported if each["kind"] == "Queue"} == {"retain"}
    names = [(each["kind"], each["metadata"]["name"]) for each in exported]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", name) for _, name in names)
    assert not mistakes(exported, tmp_path)


def test_mistakes_are_found_whoever_the_resource_belongs_to(tmp_path: Path) -> None:
    resources = copy.deepcopy(list(rendered("overlays/prod")))
    pod_of(of_kind(resources, "StatefulSet")["aftercall-endpoint"])["terminationGracePeriodSecond"] = 1
    of_kind(resources, "ScaledObject")["aftercall-enricher"]["spec"]["maxReplicaCount"] = "four"
    of_kind(resources, "Vhost")["aftercall"]["spec"]["deletionPolicy"] = "keep"
    of_kind(resources, "PodMonitor")["aftercall"]["spec"]["selectr"] = {}
    of_kind(resources, "ExternalSecret")["aftercall"]["spec"]["refresh"] = "5m"
    of_kind(resources, "HTTPRoute")["aftercall"]["spec"]["hostnames"] = ["after call"]

    found = mistakes(resources, tmp_path)

    expected = (
        *(
            "terminationGracePeriodSecond",
            "'string' is not assignable to type 'number'",
            '"keep"',
            "selectr",
            "refresh",
        ),
        "HTTPRoute Error: data/spec/hostnames/0 must match pattern",
    )
    assert [what for what in expected if what not in found] == []
