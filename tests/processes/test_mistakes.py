"""Mistakes that people made: each is one line that says what, where and how to mend it, with its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.events import stream, ticks
from support.processes import run_alpha

FILES = {
    "ticks.ndjson": stream(ticks(3)).decode(),
    "mine.py": "class Mine:\n    def process_tick(self, tick, history):\n        return None\n",
    "mine.yaml": "id: mine\nstrategy_type: momentum\ninstruments: [1]\nparameters: {lookback: nine}\n",
    "colon.yaml": "id: x\n  bad: [\n",
    "tab.yaml": "id: x\n\tstrategy_type: momentum\n",
    "open.yaml": "id: [x\nb: c\n",
    "commas.yaml": "brokers:\n  paper: {max_order_value: 5,00,000}\n",
}
CASES = [
    ("feed --ticks five", 2, "'five' is not a whole number."),
    ("run-strategy momentum --deadline x", 2, "'x' is not a number."),
    ("show ticks.ndjson", 2, "it reads standard input: alpha show < ticks.ndjson, or alpha feed ticks.ndjson"),
    ("bars ticks.ndjson", 2, "alpha bars < ticks.ndjson"),
    ("paper ticks.ndjson", 2, "it reads standard input: alpha paper < ticks.ndjson"),
    ("risk ticks.ndjson", 2, "it reads standard input: alpha risk < ticks.ndjson"),
    ("pipe feed --ticks 10", 2, 'one word, in quotes: alpha pipe "feed'),
    ("pipe", 2, 'one word, in quotes: alpha pipe "feed'),
    ("run-strategy momentum --lookback 5", 2, "parameters of a strategy stand in its YAML file"),
    ("run-strategy momentum --set lookback=5", 2, "parameters of a strategy stand in its YAML file"),
    ("paper --state st deposit -5", 2, "money is taken out with --withdraw"),
    ("risk explain", 2, "as in: alpha risk explain NSE:INFY"),
    ("risk test", 2, "as in: alpha "),
    ("version", 2, "no command 'version'; alpha --version prints it"),
    ("-v", 2, "alpha --version prints the version"),
    ("resume --state .", 2, 'say why it is safe to go on: --reason "'),
    ("paper --state ticks.ndjson", 2, "--state ticks.ndjson: is a file; name a folder"),
    ("run-strategy mine.py", 2, "run its YAML: --config mine.yaml"),
    ("run-strategy --config mine.py", 78, "mine.py: is Python, not YAML; name the YAML file, in which strategy_type"),
    ("run-strategy --config mien.yaml", 78, "mien.yaml: no such file, did you mean 'mine.yaml'?"),
    ("risk --config zzz.yaml", 78, "zzz.yaml: no such file; known: colon.yaml, commas.yaml, "),
    ("run-strategy --config mine.yaml", 78, "parameter lookback: write a whole number, got 'nine'"),
    ("run-strategy --config colon.yaml", 78, "line 2, column 6: mapping values are not allowed in this context; check"),
    ("run-strategy --config tab.yaml", 78, "line 2, column 1: found a tab character that violates indentation; indent"),
    ("run-strategy --config open.yaml", 78, "a bracket or a quote is not closed"),
    ("risk --config commas.yaml", 78, "a number is written without commas, as 500000"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what people have there."""
    made = tmp_path_factory.mktemp("user")
    for name, text in FILES.items():
        (made / name).write_text(text)
    return made


@pytest.mark.parametrize(("line", "code", "said"), CASES, ids=[line for line, _, _ in CASES])
def test_a_mistake_is_one_line_that_mends_it(folder: Path, line: str, code: int, said: str) -> None:
    """What the user typed, the exit code, and the part of the line that helps."""
    done = run_alpha(line.split(), (folder / "ticks.ndjson").read_bytes(), cwd=folder)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.count(b"\n") == 1, done.stderr
    assert said in done.stderr.decode()
    assert b"<byte string>" not in done.stderr


def test_a_strategy_called_as_a_packaged_one_is_told(tmp_path: Path) -> None:
    """It is written, and one line says which of the two `run-strategy NAME` runs."""
    done = run_alpha(["strategies", "new", "momentum"], cwd=tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert b"a strategy momentum is configured already" in done.stderr
    assert run_alpha(["strategies", "new", "mine"], cwd=tmp_path).stderr == b""
