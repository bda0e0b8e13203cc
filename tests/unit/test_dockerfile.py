import re
from pathlib import Path

HERE = Path(__file__).parents[2]
LINES = (HERE / "Dockerfile").read_text().replace("\\\n", "").splitlines()
FINAL = LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM ")) :]


def instructions(name: str, lines: list[str] = LINES) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


def test_the_last_stage_runs_as_a_numeric_user_without_a_shell_and_ends_at_sigterm() -> None:
    assert instructions("USER", FINAL) == ["65532:65532"]
    assert instructions("ENTRYPOINT", FINAL) == ['["aftercall"]']
    assert instructions("STOPSIGNAL", FINAL) == ["SIGTERM"]
    assert re.search(r'CMD \["[^"]+"', instructions("HEALTHCHECK", FINAL)[0])
    assert instructions("VOLUME", FINAL) == instructions("WORKDIR", FINAL)


def test_nothing_is_installed_in_the_last_stage() -> None:
    assert not [run for run in instructions("RUN", FINAL) if re.search(r"\b(pip|apt-get|uv)\b", run)]


def test_dependencies_are_installed_with_hashes_and_before_the_code_is_copied() -> None:
    installs = [line for line in LINES if re.search(r"pip.* install", line) and "dist/" not in line]

    assert installs
    assert all("--require-hashes" in install and "--only-binary :all:" in install for install in installs)
    assert LINES.index(installs[0]) < LINES.index("COPY worker worker")


def test_the_image_carries_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"', (HERE / "pyproject.toml").read_text(), re.MULTILINE)

    assert version
    assert f"VERSION={version[1]}" in instructions("ARG")


def test_what_the_dockerfile_copies_is_let_through_and_nothing_else() -> None:
    ignored, *let_through = [
        line for line in (HERE / ".dockerignore").read_text().splitlines() if line and not line.startswith(("#", "**/"))
    ]
    copied = {
        source.rstrip("/") for copy in instructions("COPY") if "--from" not in copy for source in copy.split()[:-1]
    }

    assert ignored == "*"
    assert {line.removeprefix("!/") for line in let_through} == copied
