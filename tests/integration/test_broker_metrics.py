"""Whether RabbitMQ tells what the rules and dashboards ask it for."""

import re

import aiohttp
import yaml

from tests.observed import ROOT, expressions, names_in
from tests.processes import eventually
from worker.broker import declare
from worker.broker.reach import reached
from worker.broker.topology import topology_of
from worker.settings import Secret, load
from worker.simulate.rabbitmq import PrivateNode

PROMETHEUS = yaml.safe_load((ROOT / "observability" / "prometheus.yml").read_text())


async def scraped(http: aiohttp.ClientSession, port: int) -> set[str]:
    """The names of all series that the jobs for RabbitMQ of our Prometheus would get."""
    names = set()
    for job in PROMETHEUS["scrape_configs"]:
        if job["job_name"].startswith("rabbitmq"):
            path, query = job.get("metrics_path", "/metrics"), job.get("params", {})
            asked = [(key, value) for key, values in query.items() for value in values]
            async with http.get(f"http://127.0.0.1:{port}{path}", params=asked) as answer:
                names |= set(re.findall(r"^(\w+)", await answer.text(), re.MULTILINE))
    return names


async def test_rabbitmq_tells_all_that_rules_and_dashboards_ask_it_for() -> None:
    asked = {name for some in expressions().values() for each in some for name in names_in(each)}
    wanted = {name for name in asked if name.startswith("rabbitmq_")}

    async with PrivateNode(prometheus=True) as node, aiohttp.ClientSession() as http:
        async with reached(Secret(node.url)) as connection:
            await declare.apply(connection, topology_of(load({})))

        async def tells_all() -> bool:
            return wanted <= await scraped(http, node.home.ports.prometheus)

        await eventually(tells_all)
