"""The manifests of k8s/ as kustomize renders them, and what is wrong with them by Kubernetes' own types.

`python -m tests.kubernetes` (`make manifests`) writes those that follow from elsewhere.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.node import MANIFESTS, NODE
from tests.tools import find
from worker.broker.operator import as_yaml, user_resources
from worker.broker.topology import topology_of
from worker.broker.users import users_of
from worker.settings import load

HERE = Path(__file__).parents[1]
K8S = HERE / "k8s"
RULES, RULE = HERE / "observability/rules/aftercall.yml", K8S / "components/monitoring/rules.yaml"
RULE_HEAD = """# Written by `make manifests` from observability/rules/aftercall.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: aftercall
spec:
"""
USERS = K8S / "overlays/prod/broker-users.yaml"
USERS_HEAD = """# Written by `make manifests`. For your own installation, with its settings and AFTERCALL_AMQP_URL:
# aftercall topology export --format operator --users {roles}
"""
WORKLOADS = ("Deployment", "StatefulSet", "Job")
TYPES = {
    "external-secrets.io": "@kubernetes-models/external-secrets",
    "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
    "keda.sh": "@kubernetes-models/keda",
    "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
}
TSC = {"strict": True, "noEmit": True, "skipLibCheck": True, "module": "esnext", "moduleResolution": "bundler"}
Resource = dict[str, Any]


@cache
def rendered(folder: str) -> tuple[Resource, ...]:
    """The resources of a folder under k8s/."""
    return render(K8S / folder)


def render(folder: Path) -> tuple[Resource, ...]:
    """The resources of a folder; the test is skipped where there is neither kustomize nor kubectl."""
    if (kustomize := find("kustomize")) is not None:
        command = [kustomize, "build"]
    elif (kubectl := find("kubectl")) is not None:
        command = [kubectl, "kustomize"]
    else:
        pytest.skip("no kustomize and no kubectl here, and Debian's packages are out of reach")
    done = subprocess.run([*command, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(map(_unfolded, yaml.safe_load_all(done.stdout)))


def _unfolded(resource: Resource) -> Resource:
    """A Secret's values without the line breaks of kustomize, which Kubernetes passes over."""
    if resource["kind"] == "Secret":
        resource["data"] = {key: "".join(value.split()) for key, value in resource["data"].items()}
    return resource


def overlay_of(folder: Path, *components: str) -> tuple[Resource, ...]:
    """What the base and some components make together."""
    here = Path(os.path.relpath(K8S, folder))
    document = {
        "resources": [str(here / "base")],
        "components": [str(here / "components" / each) for each in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return render(folder)


def of_kind(resources: Iterable[Resource], *kinds: str) -> dict[str, Resource]:
    """The resources of these kinds, by name."""
    return {each["metadata"]["name"]: each for each in resources if each["kind"] in kinds}


def pod_of(workload: Resource) -> Resource:
    """The spec of the pods of a workload."""
    return workload["spec"]["template"]["spec"]


def ours(resources: Iterable[Resource], *kinds: str) -> dict[str, Resource]:
    """The workloads that run our image's roles, by name."""
    found = of_kind(resources, *(kinds or WORKLOADS))
    return {name: each for name, each in found.items() if name.startswith("aftercall-")}


def mistakes(resources: Sequence[Resource], folder: Path) -> str:
    """What the compiler and the validators say: unknown and missing fields, wrong types, values and formats."""
    (folder / "node_modules").symlink_to(MANIFESTS / "node_modules")
    (folder / "rabbitmq.d.ts").symlink_to(MANIFESTS / "rabbitmq.d.ts")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": TSC | {"types": []}, "include": ["*.ts"]}))
    (folder / "resources.ts").write_text("\n".join(_checked(*numbered) for numbered in enumerate(resources)))
    compiler = MANIFESTS / "node_modules" / "typescript" / "bin" / "tsc"
    return _printed(compiler, "--project", "tsconfig.json", folder=folder) + _printed("resources.ts", folder=folder)


def _checked(number: int, resource: Resource) -> str:
    """TypeScript that holds the resource against its type, and when it runs against its validator."""
    group, kind = resource["apiVersion"].rpartition("/")[0], resource["kind"]
    constant = f"const resource{number}: Type{number} = {json.dumps(resource)};"
    if group == "rabbitmq.com":
        return f'import type {{ I{kind} as Type{number} }} from "./rabbitmq";\n{constant}'
    module = f"{TYPES.get(group, 'kubernetes-models')}/{resource['apiVersion']}/{kind}"
    lines = (
        f'import {{ {kind} as Model{number}, type I{kind} as Type{number} }} from "{module}";',
        constant,
        f"try {{ new Model{number}(resource{number}).validate() }}",
        f'catch (error) {{ console.log("{kind}", `${{error}}`) }}',
    )
    return "\n".join(lines)


def _printed(*arguments: str | Path, folder: Path) -> str:
    done = subprocess.run([NODE, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def prometheus_rule() -> str:
    """The rules as a resource of the Prometheus operator: the file as it is, one level deeper."""
    rules = RULES.read_text()
    lines = rules[rules.index("groups:") :].splitlines()
    return RULE_HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines)


def broker_users() -> str:
    """The users of the broker for overlays/prod: those of the roles that run there, of KEDA, and of people."""
    (map_,) = yaml.safe_load(USERS.with_name("kustomization.yaml").read_text())["configMapGenerator"]
    told = dict(each.split("=", 1) for each in map_["literals"])
    users = users_of(topology_of(load(told, USERS.parent)))
    chosen = [user for role, user in users.items() if role not in ("all", "tail")]
    head = USERS_HEAD.format(roles=",".join(user.role for user in chosen))
    return head + as_yaml(user_resources(chosen, "aftercall", "rabbitmq"))


if __name__ == "__main__":
    RULE.write_text(prometheus_rule())
    USERS.write_text(broker_users())
