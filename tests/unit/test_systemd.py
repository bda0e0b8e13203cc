import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deployed import settings_of
from worker.cli.exit_codes import USAGE

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = (SYSTEMD / "aftercall.service").read_text()
TOML = (SYSTEMD / "aftercall.toml").read_text()


def directive(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(value)


def test_the_unit_gives_the_process_time_to_end_and_does_not_restart_what_no_restart_mends(tmp_path: Path) -> None:
    for name in re.findall(r"/etc/aftercall/([a-z-]+)", TOML):
        (tmp_path / name).write_text("amqp://user:password@127.0.0.1/" if name == "amqp-url" else "a-secret")
    settings = settings_of({}, TOML.replace("/etc/aftercall", str(tmp_path)), tmp_path)

    assert int(directive("TimeoutStopSec")) >= settings.grace_s + 10
    assert int(directive("RestartPreventExitStatus")) == USAGE
    assert directive("WorkingDirectory") == f"/var/lib/{directive('StateDirectory')}"
    assert directive("Environment") == "AFTERCALL_CONFIG=/etc/aftercall/aftercall.toml"


def test_systemd_itself_takes_the_unit(tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd-analyze here")
    unit = tmp_path / "aftercall.service"
    unit.write_text(UNIT.replace("/opt/aftercall/bin/aftercall", "/bin/true"))

    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
