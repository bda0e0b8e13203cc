"""What holds of the files of k8s/ as they lie there, for which nothing has to be rendered."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes import HERE, K8S, RULE, RULES, USERS, broker_users, prometheus_rule

ROLE = yaml.safe_load((K8S / "role/pod.yaml").read_text())["spec"]["template"]["spec"]


def workloads() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in [*K8S.glob("base/*.yaml"), *K8S.glob("components/*/*.yaml")]:
        for resource in yaml.safe_load_all(path.read_text()):
            if resource.get("kind") in ("Deployment", "StatefulSet", "Job"):
                yield path, resource


def test_what_all_pods_have_in_common_is_least_privilege() -> None:
    (container,) = ROLE["containers"]

    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert ROLE["securityContext"]["runAsNonRoot"] is True
    assert ROLE["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (ROLE["automountServiceAccountToken"], ROLE["enableServiceLinks"]) == (False, False)


@pytest.mark.parametrize(("path", "workload"), [pytest.param(*each, id=each[0].stem) for each in workloads()])
def test_every_role_is_made_so_that_this_applies_to_it(path: Path, workload: dict[str, Any]) -> None:
    kustomization = yaml.safe_load((path.parent / "kustomization.yaml").read_text())
    (container,) = workload["spec"]["template"]["spec"]["containers"]

    assert [(path.parent / each).resolve() for each in kustomization["components"]] == [K8S / "role"]
    assert workload["metadata"]["labels"]["app.kubernetes.io/name"] == "aftercall"
    assert workload["metadata"]["labels"] == workload["spec"]["template"]["metadata"]["labels"]
    assert container["name"] == "aftercall"
    assert "securityContext" not in container


def test_every_file_is_part_of_something() -> None:
    for kustomization in K8S.rglob("kustomization.yaml"):
        told = kustomization.read_text()
        files = [path.name for path in kustomization.parent.iterdir() if path.is_file() and path != kustomization]
        assert [name for name in files if name not in told] == []


def test_the_rules_of_the_operator_are_those_of_prometheus() -> None:
    assert RULE.read_text() == prometheus_rule(), "`make manifests` writes them anew"
    assert yaml.safe_load(RULE.read_text())["spec"] == yaml.safe_load(RULES.read_text())


def test_the_users_of_the_broker_are_those_of_the_table() -> None:
    assert USERS.read_text() == broker_users(), "`make manifests` writes them anew"


def test_the_page_writes_no_fewer_users_than_there_are() -> None:
    page = (HERE / "docs/install/kubernetes.md").read_text()
    (named,) = re.findall(r"--format operator --users\s+([\w,]+)", page)
    names = {
        each["metadata"]["name"] for each in yaml.safe_load_all(USERS.read_text()) if each and each["kind"] == "User"
    }

    assert {f"aftercall-{role}" for role in named.split(",")} == names


def test_every_dashboard_is_brought_along() -> None:
    (generated,) = yaml.safe_load((HERE / "observability/kustomization.yaml").read_text())["configMapGenerator"]

    assert generated["files"] == sorted(
        f"dashboards/{path.name}" for path in HERE.glob("observability/dashboards/*.json")
    )
