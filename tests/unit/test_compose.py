import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.composed import DOCUMENT, HERE, SERVICES, VARIABLE, environment_of, make_secrets, secrets_of
from tests.deployed import settings_of
from tests.tools import find
from worker.broker.topology import subscriber_queue, topology_of
from worker.broker.users import users_of
from worker.settings.fields import SUBSCRIBERS

ROLES = {name: each for name, each in SERVICES.items() if str(each["image"]).startswith("${AFTERCALL_IMAGE")}
LASTING = {name: each for name, each in ROLES.items() if each["restart"] != "no"}
SECRETIVE = re.compile(r"PASSWORD|SECRETS|TOKEN|API_KEY|_URLS?$")
RUNS = {"endpoint": "webhook", "enricher": "enrich"}
JOBS = {"topology", "broker-users"} | {name for name in SERVICES if name.startswith("topology-")}


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
    if name == "broker-users":
        mounted -= {path for path in mounted if path.startswith("/run/secrets/amqp_url_")}
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
        assert SERVICES[name]["depends_on"]["broker-users"] == {"condition": "service_completed_successfully"}
    assert SERVICES["broker-users"]["depends_on"] == {"topology": {"condition": "service_completed_successfully"}}
    for name in ("rabbitmq", "postgres"):
        assert SERVICES["enricher"]["depends_on"][name] == {"condition": "service_healthy"}
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES["topology"]["command"] == ["topology", "apply"]


@pytest.mark.parametrize("name", sorted(set(SUBSCRIBERS) - {"ledger"}))
def test_a_subscriber_started_by_itself_has_its_own_queue_and_no_other_subscribers(name: str, tmp_path: Path) -> None:
    settings = settings_of(environment_of(name), "", tmp_path)

    queues = {queue.name for queue in topology_of(settings).queues}
    assert {each for each in SUBSCRIBERS if subscriber_queue(each) in queues} == {"ledger", name}
    assert SERVICES[name]["profiles"] == ["subscribers", name]
    job = SERVICES[f"topology-{name}"]
    assert (job["command"], job["profiles"]) == (["topology", "apply"], ["subscribers", name])
    assert environment_of(f"topology-{name}")["AFTERCALL_SUBSCRIBERS"] == f"ledger,{name}"
    assert SERVICES[name]["depends_on"][f"topology-{name}"] == {"condition": "service_completed_successfully"}


def test_each_service_has_the_address_of_its_own_user_who_declares_nothing(tmp_path: Path) -> None:
    addresses = {name: secrets_of(each).get("/run/secrets/amqp_url") for name, each in ROLES.items() if name != "vapi"}
    jobs = {name: addresses.pop(name) for name in JOBS}

    assert set(jobs.values()) == {"amqp_url"}
    assert addresses == {name: f"amqp_url_{RUNS.get(name, name)}" for name in addresses}
    made = {each for each in secrets_of(SERVICES["broker-users"]).values() if each != "amqp_url"}
    assert made == set(addresses.values())
    settings = settings_of(environment_of("broker-users"), "", tmp_path)
    assert {each.removeprefix("amqp_url_") for each in made} <= users_of(topology_of(settings)).keys()
    assert {environment_of(name)["AFTERCALL_TOPOLOGY"] for name in addresses} == {"check"}


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
    made = make_secrets(tmp_path / "secrets")

    assert make_secrets(tmp_path / "secrets") == made
    assert DOCUMENT["secrets"].keys() <= made.keys()
    assert made["amqp_url"] == f"amqp://aftercall:{made['rabbitmq_password']}@rabbitmq:5672/"
    assert f"default_pass = {made['rabbitmq_password']}" in made["rabbitmq_user.conf"]
    own = [each for name, each in made.items() if name.startswith("amqp_url_")]
    passwords = [re.fullmatch(r"amqp://aftercall-\w+:(\w{48})@rabbitmq:5672/", each) for each in own]
    assert len({each[1] for each in passwords if each}) == len(own) == 10
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_key_that_is_given_and_not_the_one_that_lies_there_is_told_of(tmp_path: Path) -> None:
    made = make_secrets(tmp_path)
    given = {"VAPI_API_KEY": "real", "WEBHOOK_SECRETS": made["webhook_secrets"]}

    command = [HERE / "docker/make-secrets", tmp_path]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/vapi_api_key is not VAPI_API_KEY: remove it, and run this again\n"
    assert (tmp_path / "vapi_api_key").read_text() == made["vapi_api_key"]


def test_an_installation_with_one_user_for_all_gets_one_for_each_role(tmp_path: Path) -> None:
    (tmp_path / "rabbitmq_password").write_text("first")
    (tmp_path / "amqp_url").write_text("amqp://aftercall:first@rabbitmq:5672/\n")

    made = make_secrets(tmp_path)

    assert (made["rabbitmq_password"], made["amqp_url"]) == ("first", "amqp://aftercall:first@rabbitmq:5672/\n")
    assert made["amqp_url_enrich"].startswith("amqp://aftercall-enrich:")


def test_the_administrator_of_the_broker_gets_another_password_as_the_page_tells(tmp_path: Path) -> None:
    before = make_secrets(tmp_path)
    for name in ("rabbitmq_password", "rabbitmq_user.conf", "amqp_url"):
        (tmp_path / name).unlink()

    made = make_secrets(tmp_path)

    changed = {name for name, each in made.items() if each != before[name]}
    assert changed == {"rabbitmq_password", "rabbitmq_user.conf", "amqp_url"}
    assert all(made["rabbitmq_password"] in made[name] for name in changed)


def test_an_installation_with_a_broker_elsewhere_keeps_its_user(tmp_path: Path) -> None:
    (tmp_path / "amqp_url").write_text("amqps://calls:p@rabbitmq.example.com/calls")

    made = make_secrets(tmp_path)

    assert {each for name, each in made.items() if name.startswith("amqp_url")} == {made["amqp_url"]}


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
