"""The commands in README.md and docs/, as the tests take them: blocks of a shell, command lines, and names of files."""

import re
import shlex
from collections.abc import Iterator
from itertools import groupby, product
from pathlib import Path
from typing import Final

import msgspec

HERE: Final = Path(__file__).parents[1]
PAGES: Final = sorted((HERE / "README.md", HERE / "examples" / "README.md", *(HERE / "docs").rglob("*.md")))
MARK: Final = re.compile(r"^\s*<!-- (run|not run here: .+) -->$")
SETTING: Final = re.compile(r"[A-Z][A-Z_0-9]*=")
PROGRAMS: Final = (
    *(
        "aftercall",
        "apt-get",
        "bind",
        "cd",
        "cp",
        "curl",
        "docker",
        "export",
        "install",
        "journalctl",
        "kubectl",
        "make",
    ),
    *("move", "printf", "python", "python3", "rabbitmq-diagnostics", "rabbitmq-plugins", "rabbitmqctl", "runuser"),
    *("sed", "send", "systemctl", "umask", "unbind", "until", "useradd"),
)


class Block(msgspec.Struct, frozen=True):
    """An indented block, and what the comment before it says: `run`, `not run here: …`, or nothing."""

    page: Path
    line: int
    text: str
    mark: str = ""

    @property
    def is_shell(self) -> bool:
        """Whether its first line is a command; a session with its output, at a `$`, is none to be run."""
        first = self.text.split("\n")[0]
        return bool(SETTING.match(first)) or _program(first) in PROGRAMS or first.startswith(("api=", "docker/"))

    def __str__(self) -> str:
        return f"{self.page.relative_to(HERE)}:{self.line}"


def _program(line: str) -> str:
    return (line.split() or [""])[0].rpartition("/")[2]


def blocks(page: Path) -> Iterator[Block]:
    """The indented blocks of a page: they follow an empty line, by four columns more than the text around."""
    margin, mark, lines = 0, "", page.read_text().split("\n")
    open_block: Block | None = None  # an empty line does not end it
    for is_blank, group in groupby(enumerate(lines, 1), key=lambda each: not each[1].strip()):
        part = list(group)
        first = part[0][1]
        indent = len(first) - len(first.lstrip())
        if is_blank:
            continue
        text = "\n".join(line[margin + 4 :] for _, line in part)
        if indent >= margin + 4 and open_block:
            open_block = msgspec.structs.replace(open_block, text=f"{open_block.text}\n\n{text}")
        elif indent >= margin + 4:
            open_block, mark = Block(page, part[0][0], text, mark), ""
        else:
            if open_block:
                yield open_block
            open_block, mark = None, found[1] if (found := MARK.match(first)) else ""
            listed = re.match(r"\s*(?:\d+\.|-) +", part[-1][1]) or re.match(r"\s*(?:\d+\.|-) +", first)
            margin = margin if found else len(listed[0]) if listed else indent
    if open_block:
        yield open_block


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of each command line in the blocks and in the code within sentences, each alternative of it."""
    text = page.read_text()
    written = [line for block in blocks(page) for line in block.text.replace("\\\n", " ").split("\n")]
    written += re.findall(r"`([^`\n]+)`", text)
    for line in written:
        yield from _alternatives(re.sub(r"^\$ |[\[\]]", "", line.partition("  #")[0].strip()))


def _alternatives(line: str) -> Iterator[list[str]]:
    """`topology show|apply` is two; of `a && b` each is one."""
    try:
        words = shlex.split(line, comments=False)
    except ValueError:  # an apostrophe in an output
        return
    for is_between, part in groupby(words, key=lambda word: word in {"&&", "||", "|", ";"}):
        if not is_between:
            yield from map(list, product(*(_choices(word) for word in part if not SETTING.match(word))))


def _choices(word: str) -> list[str]:
    return word.split("|") if re.fullmatch(r"[a-z-]+(\|[a-z-]+)+", word) else [word]


def arguments_of_aftercall(words: list[str]) -> list[str] | None:
    """What a command line gives to `aftercall`, wherever it runs it; None if it does not."""
    if words[:1] in (["runuser"], ["kubectl"]) and "--" in words:
        return arguments_of_aftercall(words[words.index("--") + 1 :])
    if words[:2] == ["docker", "compose"] and "operator" in words:
        return _until_told(words[words.index("operator") + 1 :])
    return _until_told(words[1:]) if words and words[0].rpartition("/")[2] == "aftercall" else None


def _until_told(words: list[str]) -> list[str]:
    """Without what stands there to say that it goes on."""
    return [word for word in words if word not in {"…", "NAME…", "FILE…"}]
