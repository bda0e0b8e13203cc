import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployed import settings_of
from tests.tools import find
from worker.broker.topology import subscriber_queue, topology_of
from worker.settings.fields import SUBSCRIBERS

HERE = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((HERE / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
ROLES = {name: each for name, each in SERVICES.items() if str(each["image"]).startswith("${AFTERCALL_IMAGE")}
LASTING = {name: each for name, each in ROLES.items() if each["restart"] != "no"}
VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")
SECRETIVE = re.compile(r"PASSWORD|SECRETS|TOKEN|API_KEY|_URLS?$")


@cache
def environment_of(name: str) -> dict[str, str]:
    """The environment of a service when nobody sets a variable."""
    return {key: VARIABLE.sub(r"\1", str(value)) for key, value in SERVICES[name]["environment"].items()}


def secrets_of(service: dict[str, Any]) -> dict[str, str]:
    """The secrets of a service, by their path in it."""
    given = [each if isinstance(each, dict) else {"source": each} for each in service.get("secrets", [])]
    return {each.get("target", f"/run/secrets/{each['source']}"): each["source"] for each in given}


def seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_confined_and_limited(name: str) -> None:
    service = SERVICES[name]

    assert re.search(r":v?\d+\.\d+|:local", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert service["logging"]["options"]["max-size"]
    assert service["restart"] in ("unless-stopped", "no")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_its_secrets_as_files_and_only_those_that_it_reads(name: str) -> None:
    service = SERVICES[name]
    environment = service.get("environment", {})
    read = {value for key, value in environment.items() if key.endswith("_FILE")}

    mounted = {path for path in secrets_of(service) if not path.endswith(".conf")}
    assert read == mounted
    assert set(secrets_of(service).values()) <= DOCUMENT["secrets"].keys()
    secretive = {key for key in environment if SECRETIVE.search(key) and not key.endswith("_FILE")}
    assert secretive <= {"AFTERCALL_VAPI_BASE_URL"}


@pytest.mark.parametrize("name", ROLES)
def test_the_settings_of_a_role_can_be_used(name: str, tmp_path: Path) -> None:
    settings_of(environment_of(name), (HERE / "docker" / "aftercall.toml").read_text(), tmp_path)


@pytest.mark.parametrize("name", LASTING)
def test_a_role_has_longer_to_end_than_it_takes(name: str) -> None:
    grace_s = int(environment_of("endpoint")["AFTERCALL_GRACE_S"])

    assert seconds(LASTING[name]["stop_grace_period"]) >= grace_s + 10


def test_ports_are_published_for_this_machine_alone_and_the_admin_port_of_no_role() -> None:
    published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}

    assert set(published) == {"endpoint", "rabbitmq", "prometheus", "grafana"}
    for ports in published.values():
        assert all(VARIABLE.sub(r"\1", port).startswith("127.0.0.1:") for port in ports)
    assert published["endpoint"] == ["${AFTERCALL_PUBLISH:-127.0.0.1:8080}:8080"]
    assert DOCUMENT["networks"]["inside"] == {"internal": True}


def test_a_role_starts_when_the_topology_is_declared_and_its_servers_are_healthy() -> None:
    for name in ("endpoint", "enricher", "ledger", "sweep", *set(SUBSCRIBERS) - {"ledger"}):
        assert SERVICES[name]["depends_on"]["topology"] == {"condition": "service_completed_successfully"}
    for name in ("rabbitmq", "postgres"):
        assert SERVICES["enricher"]["depends_on"][name] == {"condition": "service_healthy"}
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES["topology"]["command"] == ["topology", "apply"]


@pytest.mark.parametrize("name", sorted(set(SUBSCRIBERS) - {"ledger"}))
def test_a_subscriber_started_by_itself_has_its_own_queue_and_no_other_subscribers(name: str, tmp_path: Path) -> None:
    settings = settings_of(environment_of(name), "", tmp_path)

    queues = {queue.name for queue in topology_of(settings).queues}
    assert {each for each in SUBSCRIBERS if subscriber_queue(each) in queues} == {"ledger", name}
    assert settings.topology == "apply"
    assert SERVICES[name]["profiles"] == ["subscribers", name]


def test_prometheus_scrapes_each_role_that_lasts() -> None:
    scraped = yaml.safe_load((HERE / "observability" / "prometheus.yml").read_text())["scrape_configs"]

    (ours,) = [job["dns_sd_configs"][0]["names"] for job in scraped if job["job_name"] == "aftercall"]
    assert set(ours) == LASTING.keys() - {"vapi", "tail"}


def test_what_is_mounted_from_here_is_there() -> None:
    sources = [each.split(":")[0] for service in SERVICES.values() for each in service.get("volumes", [])]
    files = [VARIABLE.sub(r"\1", each["file"]) for each in DOCUMENT["configs"].values()]

    assert all((HERE / path).exists() for path in [*files, *(each for each in sources if each.startswith("./"))])
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (HERE / "observability/dashboards" / Path(home).name).exists()


def test_the_demo_brings_calls_and_one_who_shows_them() -> None:
    demo = dict(line.split("=", 1) for line in (HERE / "docker/demo.env").read_text().splitlines() if "=" in line)

    assert {name for name, each in SERVICES.items() if each.get("profiles") == [demo["COMPOSE_PROFILES"]]} == {
        "vapi",
        "tail",
    }
    assert demo["AFTERCALL_VAPI_BASE_URL"] == "http://vapi:8090"


def test_a_secret_is_made_for_each_that_is_asked_for_and_never_again(tmp_path: Path) -> None:
    command = [HERE / "docker/make-secrets", tmp_path / "secrets"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made
    assert DOCUMENT["secrets"].keys() <= made.keys()
    assert made["amqp_url"] == f"amqp://aftercall:{made['rabbitmq_password']}@rabbitmq:5672/"
    assert f"default_pass = {made['rabbitmq_password']}" in made["rabbitmq_user.conf"]
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("options", [[], ["--env-file", "docker/demo.env"], ["--profile", "*"]])
def test_compose_itself_takes_the_file(options: list[str]) -> None:
    if (compose := find("docker-compose")) is None:
        pytest.skip("no docker-compose here, and Debian's packages are out of reach")

    done = subprocess.run(
        [compose, *options, "config", "--quiet"], cwd=HERE, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_prometheus_itself_takes_its_file() -> None:
    if (promtool := find("promtool")) is None:
        pytest.skip("no promtool here, and Debian's packages are out of reach")

    command = [promtool, "check", "config", "--syntax-only", "observability/prometheus.yml"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
