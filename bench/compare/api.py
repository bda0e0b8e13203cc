"""The calls' API of the comparison: nginx with its echo module, which costs far less than any contestant."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.bodies import call_of
from worker.simulate.rabbitmq import free_ports
from worker.simulate.rabbitmq.commands import run
from worker.simulate.rabbitmq.debian import can_install, no_service_starts

MODULE: Final = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
PACKAGES: Final = ("nginx-light", "libnginx-mod-http-echo", "wrk")
INSTALL_S: Final = 900.0
POLICY: Final = Path("/usr/sbin/policy-rc.d")
CONFIGURATION: Final = """
load_module {module};
worker_processes 1;
pid nginx.pid;
error_log error.log warn;
daemon off;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  root .;
  default_type application/json;
  open_file_cache max=8 inactive=1h;
  {servers}
}}
"""
AT_ONCE: Final = "server {{ listen 127.0.0.1:{port}; location /call/ {{ rewrite ^ /{size_kb}.json break; }} }}"
LATER: Final = (
    "server {{ listen 127.0.0.1:{port}; location /call/ {{ echo_sleep {latency_s}; echo_exec /{size_kb}.json; }}"
    " location = /{size_kb}.json {{ internal; }} }}"
)
Answers = tuple[int, int]
"""How large a call is in KB, and after how many milliseconds it comes."""


class Missing(Exception):
    """A tool of the comparison is not here and cannot be had; the text says what to do."""


def are_here() -> bool:
    """Whether all that the comparison needs of the system is installed."""
    return all(map(_which, ("nginx", "wrk"))) and MODULE.exists()


async def install() -> None:
    """Install what is missing, without starting it as a service. Raises `Missing`."""
    if are_here():
        return
    if not can_install():
        raise Missing(f"The comparison needs the packages {', '.join(PACKAGES)} of Debian or Ubuntu: install them.")
    sys.stderr.write(f"Installing the packages {', '.join(PACKAGES)} …\n")
    told = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        with no_service_starts(POLICY, POLICY.with_name("policy-rc.d.saved-by-aftercall")):
            for words in (("update",), ("install", "--yes", "--no-install-recommends", *PACKAGES)):
                await run("apt-get", "--quiet", *words, within_s=INSTALL_S, environment=told)
    except (subprocess.CalledProcessError, TimeoutError) as error:
        said = str(getattr(error, "output", "it took too long"))[-1000:]
        raise Missing(f"apt-get could not install {', '.join(PACKAGES)}: {said}") from error


@contextmanager
def serving(folder: Path, answers: set[Answers]) -> Iterator[dict[Answers, str]]:
    """The URL for each size and latency. The call is one for all, so it has no id: no contestant minds."""
    ports = dict(zip(sorted(answers), free_ports(len(answers)), strict=True))
    folder.chmod(0o755)  # nginx gives its rights away, and reads the calls as somebody else
    for size_kb in {size_kb for size_kb, _ in answers}:
        call = json.loads(call_of(size_kb * 1024))
        del call["id"]
        (folder / f"{size_kb}.json").write_text(json.dumps(call, separators=(",", ":")))
    (folder / "nginx.conf").write_text(_configuration(ports))
    nginx = subprocess.Popen([_which("nginx") or "nginx", "-p", folder, "-c", "nginx.conf"])
    try:
        time.sleep(0.5)
        yield {each: f"http://127.0.0.1:{port}" for each, port in ports.items()}
    finally:
        nginx.terminate()
        nginx.wait()


def _configuration(ports: dict[Answers, int]) -> str:
    servers = (
        (LATER if latency_ms else AT_ONCE).format(port=port, size_kb=size_kb, latency_s=latency_ms / 1000)
        for (size_kb, latency_ms), port in ports.items()
    )
    return CONFIGURATION.format(module=MODULE, servers="\n  ".join(servers))


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
