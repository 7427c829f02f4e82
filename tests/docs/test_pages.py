"""README and the pages of docs/: every example runs and prints what the page says, and every link leads somewhere.

A page's examples run in order in one folder. A block whose first line is `# NAME.py` or `# NAME.yaml` is saved there
under that name for the examples after it, as a reader would save it. In what an example prints, `…` stands for the
rest of a line and a line `...` for any number of lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from support.processes import ROOT, environment

BIN = Path(sys.executable).parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"console", "python", "yaml", "sh", "text", "mermaid"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SAVED_AS = re.compile(r"# ([\w./-]+\.(?:py|yaml))\n")


class Block(NamedTuple):
    """A fenced block: its page, the line it begins at, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def saved_as(self) -> str | None:
        """The name under which the page tells a reader to save it."""
        found = _SAVED_AS.match(self.text)
        return found[1] if found else None


def _blocks(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(str(path.relative_to(ROOT)), line, found[1], found[2])


BLOCKS = [block for path in PAGES for block in _blocks(path)]


class Command(NamedTuple):
    """A command of a console block, what the page says that it prints, and what it printed."""

    line: str
    expected: str
    printed: str


class Reader:
    """Somebody who follows a page from its beginning, each page in a folder of its own, and does nothing twice."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._done: dict[Block, list[Command]] = {}

    def folder(self, page: str) -> Path:
        """Return where the examples of `page` are run."""
        folder = self._root / page.replace("/", "-")
        folder.mkdir(exist_ok=True)
        return folder

    def follow(self, until: Block) -> list[Command]:
        """Do what the page says up to the block `until`; return the commands of that one."""
        for block in BLOCKS:
            if block.page == until.page and block.line <= until.line and block not in self._done:
                self._done[block] = self._do(block)
        return self._done[until]

    def _do(self, block: Block) -> list[Command]:
        folder = self.folder(block.page)
        if block.saved_as is not None:
            path = folder / block.saved_as
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.language != "console":
            return []
        return [Command(command, expected, _run(command, folder)) for command, expected in _commands(block.text)]


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("pages"))


def _environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """What a reader has: alpha on the path, no colours, and nothing of the tests that run the examples."""
    settings = {"PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "100", "PY_COLORS": "0", **(extra or {})}
    return {name: value for name, value in environment(settings).items() if not name.startswith("PYTEST_")}


def _run(command: str, folder: Path, **extra: str) -> str:
    """What `command` prints on both outputs."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=_environment(extra), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout.decode()


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, expected output) of each `$ ` line; lines that begin with `> ` continue the command."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while output.startswith("> ") and (command.endswith("\\") or "<<" in command):
            more, _, output = output.partition("\n")
            joined = command.removesuffix("\\")
            command = f"{joined}{more[2:]}" if joined != command else f"{command}\n{more[2:]}"
        yield command, output


def _pattern(expected: str) -> re.Pattern[str]:
    lines = [re.escape(line).replace("…", ".*") for line in expected.rstrip("\n").split("\n")]
    text = "\n".join(lines).replace("\\.\\.\\.\n", "(?:.*\n)*?").replace("\n\\.\\.\\.", "(?:\n.*)*")
    return re.compile(text + "\n*")


#: Those of a page go to one worker, so that what stands before a block need not run again for it.
_IN_ORDER = [
    pytest.param(block, id=f"{block.page}:{block.line}", marks=pytest.mark.xdist_group(block.page))
    for block in BLOCKS
    if block.language in {"console", "python", "yaml"}
]


@pytest.mark.parametrize("block", _IN_ORDER)
def test_an_example_does_what_its_page_says(block: Block, reader: Reader) -> None:
    """Commands print what stands below them, Python runs, and YAML is accepted by the command that reads it."""
    commands, folder = reader.follow(block), reader.folder(block.page)
    if block.language == "console":
        assert commands, "a console block has a line that begins with `$ `"
        for command, expected, printed in commands:
            assert _pattern(expected).fullmatch(printed), f"$ {command}\n{printed[:4000]}"
    elif block.language == "yaml":
        _accepted(block, folder)
    elif block.saved_as is None or not block.saved_as.startswith("test_"):  # a console block runs the tests
        code = block.text if block.saved_as is None else f"import runpy; runpy.run_path({block.saved_as!r})"
        words = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(words, cwd=folder, env=_environment(), capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()


def _accepted(block: Block, folder: Path) -> None:
    assert block.saved_as is not None, "the first line of a YAML block names its file"
    name, keys = Path(block.saved_as).name, set(yaml.safe_load(block.text))
    configs = str((folder / block.saved_as).parent.absolute())
    if "strategy_type" in keys:
        command = f"alpha pipe -q --feedback 'feed --ticks 1 | run-strategy --config {block.saved_as} | paper'"
    elif name == "calendar.yaml":
        command = "alpha market sessions 2026-11-24"
    elif name == "alpha.yaml":
        command = "alpha pipe -q 'feed --ticks 1 | run-strategy momentum'"
    elif name == "paper.yaml":
        command = f"alpha pipe -q 'feed --ticks 1 | paper --config {block.saved_as}'"
    else:
        assert keys <= {"account", "brokers", "strategies", "instruments"}, f"what reads {name}?"
        command = f"alpha risk explain 256265 --config {block.saved_as}"
    printed = _run(f"{command} > out 2>&1; echo $?; cat out", folder, ALPHA_CONFIG_DIR=configs)
    assert printed.startswith("0\n"), printed


def test_every_block_is_of_a_language_that_is_looked_after() -> None:
    """A block without a language, or of another one, would be run by nobody."""
    unknown = [f"{block.page}:{block.line}: {block.language!r}" for block in BLOCKS if block.language not in LANGUAGES]
    assert not unknown


# --- what pages say of each other and of alpha ------------------------------------------------------------


def _anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE):
        kept = [
            char for char in heading.lower().replace("`", "") if char in "-_ " or unicodedata.category(char)[0] in "LN"
        ]
        found.add("".join(kept).replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """To a file that exists, and to a heading that is in it."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert not dead


def test_the_readme_is_short() -> None:
    """Everything else is on a page of its own."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_readme_names_every_page() -> None:
    """Links are relative, and of no use on a package index; the topic of `alpha help` beside them is."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    reached = set(re.findall(r"\(docs/([\w-]+)\.md\)", readme))
    for page in reached:
        assert f"`alpha help {page}`" in readme
    others = {path.stem for path in (ROOT / "docs").glob("*.md")} - reached
    assert others <= {"matching", "orders", "adding-a-stage"}, "linked from docs/paper.md and CONTRIBUTING.md"


def test_every_row_of_the_stage_contract_names_its_tests() -> None:
    """The contract is a table in docs/wire.md; each row names tests, and each of them exists."""
    page = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    section = page.split("## What every stage does", 1)[1].split("\n## ", 1)[0]
    rows = [row for row in section.splitlines() if row.startswith("| ") and not row.startswith(("| situation", "| -"))]
    assert len(rows) >= 10
    files = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    for row in rows:
        names = re.findall(r"`(test_\w+)::(test_\w+)`", row)
        assert names, f"no test is named in: {row}"
        for file, name in names:
            assert f"def {name}(" in files.get(file, ""), f"{file}::{name} does not exist"
