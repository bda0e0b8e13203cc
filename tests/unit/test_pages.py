"""What the documents say to type can be typed: the commands, options, targets and files that they name are there."""

import re
from functools import cache
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError, MissingArgumentError

from tests.pages import HERE, PAGES, PROGRAMS, Block, arguments_of_aftercall, blocks, command_lines
from worker.cli import command_line

COMMANDS = [(page, words) for page in PAGES for words in command_lines(page)]
TO_BE_RUN = (
    *("README.md", "docs/install/one-machine.md", "docs/security.md"),
    *("docs/upgrading.md", "docs/runbook.md", "docs/faults.md"),
)
GUARANTEES = HERE / "docs" / "guarantees.md"
LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)")
NAMED = re.compile(
    r"(?<![\w/.])(?:consumers|docker|docs|examples|k8s|observability|systemd|tests|worker|bench)/[\w./-]+|requirements[\w-]*\.lock"
)


@cache
def the_command_line() -> App:
    return command_line(is_complete=True)


def problem_of(arguments: list[str]) -> str:
    """What the command line has against arguments; a sentence may name a command without what it needs."""
    try:
        the_command_line().parse_args(arguments, exit_on_error=False, print_error=False)
    except MissingArgumentError:
        return ""
    except CycloptsError as error:
        return str(error)
    return ""


def test_every_command_of_aftercall_that_a_page_names_is_one_with_these_options() -> None:
    typed = [(page, given) for page, words in COMMANDS if (given := arguments_of_aftercall(words))]

    wrong = {f"{page.relative_to(HERE)}: aftercall {' '.join(given)}": problem_of(given) for page, given in typed}

    assert len(typed) > 60
    assert {line: problem for line, problem in wrong.items() if problem} == {}


@pytest.mark.parametrize("line", ["dead reply --queue crm", "topology apply --force", "sweep --onec", "nothing"])
def test_a_command_that_is_not_there_would_be_found(line: str) -> None:
    assert problem_of(line.split())


def test_every_target_of_make_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (HERE / "Makefile").read_text(), re.MULTILINE))
    named = {words[1] for _, words in COMMANDS if words[:1] == ["make"] and words[1:]}

    assert named <= targets
    assert {"demo", "test", "drill", "sbom", "audit"} <= named


def test_every_module_that_a_page_runs_is_there() -> None:
    modules = {words[2] for _, words in COMMANDS if words[:1] in (["python"], ["python3"]) and words[1:2] == ["-m"]} - {
        "venv"
    }
    places = [HERE / module.replace(".", "/") for module in modules]

    assert places
    assert all(place.with_suffix(".py").exists() or (place / "__main__.py").exists() for place in places)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_every_file_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    named = {name.rstrip("./") for block in blocks(page) if block.is_shell for name in NAMED.findall(block.text)}
    named |= {
        name for text in re.findall(r"`([^`\n]+)`", page.read_text()) for name in NAMED.findall(text) if text == name
    }

    assert {
        name for name in named if not (HERE / name.rstrip("/")).exists() and not (HERE / "tests" / name).exists()
    } == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_every_link_to_a_page_leads_to_one_with_that_heading(page: Path) -> None:
    for path, heading in LINK.findall(page.read_text()):
        if "://" in path:
            continue
        to = (page.parent / path).resolve() if path else page
        assert to.exists(), path
        if heading:
            headings = re.findall(r"^#+ (.+)$", to.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("name", TO_BE_RUN)
def test_every_block_of_a_shell_is_run_by_a_test_or_says_why_not(name: str) -> None:
    unmarked = [str(block) for block in blocks(HERE / name) if block.is_shell and not block.mark]

    assert unmarked == []


def test_every_test_that_a_guarantee_rests_on_is_there() -> None:
    named = re.findall(r"`((?:acceptance|faults|integration|unit)/test_\w+\.py)(?:::(\w+))?", GUARANTEES.read_text())
    missing = [f"{file}::{test}" for file, test in named if f"def {test}" not in (HERE / "tests" / file).read_text()]

    assert len(named) > 20
    assert missing == []


def test_a_block_is_found_within_a_list_and_its_mark_is_its_own(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "1. First\n\n   <!-- run -->\n\n       make demo\n\n   and\n\n       make test\n\ntext\n\n    plain\n"
    )

    assert [(each.text, each.mark, each.is_shell) for each in blocks(page)] == [
        ("make demo", "run", True),
        ("make test", "", True),
        ("plain", "", False),
    ]


def test_what_is_marked_is_taken_for_a_shell() -> None:
    marked: list[Block] = [block for page in PAGES for block in blocks(page) if block.mark]

    assert [str(block) for block in marked if not block.is_shell] == []
    assert "aftercall" in PROGRAMS
