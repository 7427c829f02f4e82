"""`alpha strategies`: list, describe, new and check; each check on a strategy that is bad in just that way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.events import NIFTY
from support.examples import rest_nightly
from support.processes import DEADLINE, ROOT, environment

from alpha_cli.cli.app import execute
from alpha_cli.config.files import packaged
from alpha_cli.stages.run_strategy.capabilities import CAPABILITIES
from alpha_cli.stages.run_strategy.config_table import open_table
from alpha_cli.stages.run_strategy.factory import PROCESSORS, STRATEGIES
from alpha_cli.tools.strategies import scaffold
from alpha_cli.tools.strategies.conformance import cost, process, subject as subjects
from alpha_cli.tools.strategies.conformance.runs import CHECKS, FIRST, run
from alpha_cli.tools.strategies.conformance.subject import Subject
from alpha_cli.tools.strategies.conformance.verdict import FAIL, OK, SKIPPED, WARNING, Result, Verdict
from alpha_cli.tools.strategies.target import target

BUILT_IN = [name for name, file in PROCESSORS.items() if (packaged("strategies") / file.partition(":")[0]).is_file()]
PATIENCE = 20.0  # seconds for a check that is not meant to be slow


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and nothing of the user's own."""
    for name in ("ALPHA_DEBUG", "ALPHA_STATE", "ALPHA_CONFIG_DIR", "ALPHA_CONFIG_DB", "ALPHA_ACTIVE_BROKERS"):
        monkeypatch.delenv(name, raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "stdin", None)


def said(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> str:
    """What `alpha strategies ARGS…` prints."""
    assert execute(["strategies", *args]) == code
    return capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture[str], *args: str, code: int) -> str:
    """The one line with which `alpha strategies ARGS…` refuses."""
    assert execute(["strategies", *args]) == code
    both = capsys.readouterr()
    assert both.out == ""
    assert both.err.count("\n") == 1
    return both.err.rstrip("\n")


# --- list ------------------------------------------------------------------------------------


def listed(capsys: pytest.CaptureFixture[str], *args: str) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name) -> what `list --json` says of it."""
    rows = map(json.loads, said(capsys, "list", "--json", *args).splitlines())
    return {(row["kind"], row["name"]): row for row in rows}


def test_the_list_for_programs_has_every_type_and_every_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """With what each processor can do, and whether it has a model."""
    rows = listed(capsys)
    types = {name: row for (kind, name), row in rows.items() if kind == "strategy_type"}
    assert list(types) == STRATEGIES.names()
    assert types["momentum"]["capabilities"] == ["process_tick"]
    assert types["momentum"]["does"] == "Momentum: follow a price that has moved further than usual."
    assert {name: row["has_model"] for name, row in types.items() if row["package"] == "alpha"} == {
        name: "ml" in name for name in PROCESSORS
    }
    assert all(set(row["capabilities"]) <= set(CAPABILITIES) and row["error"] is None for row in types.values())
    assert {name for kind, name in rows if kind == "validator_type"} >= {"standard", "strict"}
    momentum = rows["strategy", "momentum"]
    assert (momentum["strategy_type"], momentum["active_brokers"], momentum["is_active"]) == (
        "momentum",
        ["paper"],
        True,
    )
    assert NIFTY in momentum["instruments"]


def test_the_list_for_people_is_three_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """Types, validators and configured strategies, each under a header, in plain text where nobody looks."""
    text = said(capsys, "list")
    assert "\x1b" not in text
    types, validators, configured = (part.splitlines() for part in text.split("\n\n"))
    assert types[0].split()[:4] == ["type", "package", "model", "does"]
    assert [line.split()[0] for line in types[1:]] == STRATEGIES.names()
    assert [line.split()[0] for line in validators] == ["validator", "standard", "strict"]
    assert ["momentum", "momentum", "momentum", "2", "paper", "yes"] in [line.split() for line in configured]


def test_the_list_imports_neither_models_nor_databases() -> None:
    """onnxruntime takes longer to import than all the rest; what one command needs the others do not pay for."""
    program = "import sys\nfrom alpha_cli.cli.app import execute\nexecute(['strategies', 'list'])\nprint(*sys.modules)"
    made = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=DEADLINE, env=environment(), check=True, cwd=ROOT
    )
    modules = set(made.stdout.decode().splitlines()[-1].split())
    assert not modules & {
        "onnxruntime",
        "numpy",
        "alpha_cli.tools.strategies.db",
        "sqlite_utils",
        "alpha_cli.cli.library",
    }
    assert "alpha_strategies.ml_momentum" in modules


def test_the_list_has_the_types_of_other_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the package that they come from; one that cannot be imported, or made without parameters, hides no other."""
    site = tmp_path / "site"
    (site / "acme-1.0.dist-info").mkdir(parents=True)
    (site / "acme-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (site / "acme-1.0.dist-info" / "entry_points.txt").write_text(
        "[alpha.strategies]\nacme_good = acme_good:create\nacme_gone = acme_gone:create\n"
    )
    (site / "acme_good.py").write_text(
        '"""Does good."""\n'
        "class Good:\n    def load_model(self): ...\n    def process_tick(self, tick, history): ...\n"
        "def create(must) -> Good:\n    return Good()\n"
    )
    monkeypatch.syspath_prepend(str(site))
    rows = listed(capsys)
    good, gone = rows["strategy_type", "acme_good"], rows["strategy_type", "acme_gone"]
    assert (good["package"], good["has_model"], good["does"]) == ("acme", True, "Does good.")
    assert (gone["package"], gone["capabilities"]) == ("acme", [])
    assert "No module named 'acme_gone'" in gone["error"]
    assert "acme_gone" in said(capsys, "list")


def test_a_configuration_that_cannot_be_read_is_listed_with_its_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """The others are listed all the same; names that are not the id show both."""
    folder = Path("configs/strategies")
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("id: broken\n")
    (folder / "mine.yaml").write_text(f"id: other\nstrategy_type: momentum\ninstruments: [{NIFTY}]\nis_active: false\n")
    rows = listed(capsys)
    assert "strategy_type" in rows["strategy", "broken"]["error"]
    assert (rows["strategy", "mine"]["id"], rows["strategy", "mine"]["is_active"]) == ("other", False)
    text = said(capsys, "list")
    assert re.search(r"^broken +cannot be read: .*strategy_type", text, re.MULTILINE)
    assert re.search(r"^mine +other +momentum +1 +paper +no$", text, re.MULTILINE)


def test_the_configurations_of_a_database_are_listed_in_place_of_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    """--config-db names it."""
    config = target("momentum").config.model_copy(update={"id": "from-the-table"})
    with open_table("sqlite:///here.db", create=True) as rows:
        rows.init()
        rows.put(config)
    found = listed(capsys, "--config-db", "sqlite:///here.db")
    assert [name for kind, name in found if kind == "strategy"] == ["from-the-table"]


# --- describe --------------------------------------------------------------------------------


def test_describe_says_what_a_strategy_does_and_what_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    """Docstring, capabilities, and a row a parameter: type, default, bounds, unit, older names."""
    text = said(capsys, "describe", "mean_reversion")
    assert "\n  Mean reversion: lean against a price" in text
    assert re.search(r"^capabilities +process_tick, snapshot, restore$", text, re.MULTILINE)
    assert re.search(r"^type +mean_reversion \(older names: MeanReversionStrategy\)$", text, re.MULTILINE)
    assert re.search(r"^min_history +50 ticks$", text, re.MULTILINE)
    assert re.search(r"^tick_fields +token, time and price only$", text, re.MULTILINE)
    assert re.search(r"^lookback +int +50 +>= 3, <= 10000 +ticks +window, lookback_period +–$", text, re.MULTILINE)
    assert re.search(r"^exit_threshold +float \| none +none +>= 0, <= 10 ", text, re.MULTILINE)
    assert re.search(r"^order_type +MARKET \| LIMIT +MARKET ", text, re.MULTILINE)


def test_describe_shows_the_values_of_a_configuration_under_whatever_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A file's, or a named one's; a value that will not do is said and hides nothing."""
    Path("mine.yaml").write_text(
        f"id: mine\nstrategy_type: momentum\ninstruments: [{NIFTY}]\nparameters: {{window: 7}}\nmax_position_size: 5\n"
    )
    text = said(capsys, "describe", "mine.yaml")
    assert re.search(r"^lookback .* 7$", text, re.MULTILINE)
    assert re.search(r"^min_history +8 ticks$", text, re.MULTILINE)
    assert re.search(r"^max_position_size +5 units$", text, re.MULTILINE)
    assert "\nfault " not in text
    folder = Path("configs/strategies")
    folder.mkdir(parents=True)
    wrong = f"id: wrong\nstrategy_type: momentum\ninstruments: [{NIFTY}]\nparameters: {{lookback: 0}}\n"
    (folder / "wrong.yaml").write_text(wrong)
    text = said(capsys, "describe", "wrong")
    assert re.search(r"^fault +strategy wrong: parameter lookback: .* got 0$", text, re.MULTILINE)
    assert re.search(r"^lookback .*>= 1, .* 0$", text, re.MULTILINE)


def test_describe_takes_a_file_and_the_arguments_of_a_factory_without_a_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With no docstring either, there is still something to say; a factory may be a class."""
    Path("mine.py").write_text(
        "class Mine:\n"
        "    bars = ('1m',)\n    multi_instrument = True\n    tick_fields = ('volume_traded',)\n"
        "    def __init__(self, lookback: int = 5, *, name): ...\n"
        "    def process_tick(self, tick, history): ...\n"
        "    def on_bar(self, bar, history): ...\n"
    )
    text = said(capsys, "describe", "./mine.py:Mine")
    assert re.search(r"^capabilities +process_tick, on_bar$", text, re.MULTILINE)
    assert re.search(r"^bars +1m$", text, re.MULTILINE)
    assert re.search(r"^tick_fields +volume_traded$", text, re.MULTILINE)
    assert re.search(r"^multi_instrument +yes$", text, re.MULTILINE)
    assert re.search(r"^lookback +int +5 ", text, re.MULTILINE)
    assert re.search(r"^name +– +required ", text, re.MULTILINE)


@pytest.mark.parametrize("command", ["describe", "check"])
def test_an_unknown_name_is_one_line_with_the_nearest(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 78, as of every name that is looked for among configurations; a file that is not there too."""
    assert "no strategy 'momentun', did you mean 'momentum'?" in complaint(capsys, command, "momentun", code=78)
    assert "known: " in complaint(capsys, command, "zzz", code=78)
    for missing in ("./gone.py", "./gone.py:create", "gone.yaml"):
        assert "gone." in complaint(capsys, command, missing, code=78)
    assert complaint(capsys, command, code=2).startswith("alpha strategies: Missing argument 'NAME'")


# --- the group -------------------------------------------------------------------------------


def test_strategies_alone_shows_its_help_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, as `alpha` alone does, every command on one line; an unknown one is answered with a near one."""
    assert execute(["strategies"]) == 2
    both = capsys.readouterr()
    assert both.out == ""
    lines = both.err.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == ["list", "describe", "new", "check", "db"]
    line = complaint(capsys, "lst", code=2)
    assert line == "alpha strategies: no command 'lst', did you mean 'list'? (see alpha strategies --help)"
    assert "known: list, describe, new, check, db" in complaint(capsys, "zzz", code=2)


@pytest.mark.parametrize("words", [["list"], ["describe"], ["new"], ["check"], ["db"]])
def test_every_command_of_the_group_has_help_with_an_example(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """That of `db` shows that it is wired in."""
    text = said(capsys, *words, "--help")
    assert re.search(rf"\n  Example:\n      alpha strategies {words[0]}", text)


# --- new -------------------------------------------------------------------------------------


def test_a_new_strategy_runs_passes_its_test_and_keeps_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """All three of the commands that `new` prints, as printed, in another folder than the current one."""
    lines = said(capsys, "new", "opening_range", "--into", "my strategies").splitlines()
    files = ["opening_range.py", "opening_range.yaml", "test_opening_range.py"]
    assert lines[:3] == [f"wrote my strategies/{file}" for file in files]
    assert sorted(path.name for path in Path("my strategies").iterdir()) == files
    bin_folder = Path(sys.executable).parent
    env = environment({"PATH": f"{bin_folder}:/usr/bin:/bin"})
    run_it, check_it, test_it = (line.strip() for line in lines[-3:])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", run_it], env=env, capture_output=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert re.search(rb"^signal .* (BUY|SELL) .* opening_range .* a new (high|low) of 50 ticks$", done.stdout, re.M)
    for line in (check_it, test_it):
        done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, timeout=DEADLINE, check=False)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def test_new_replaces_nothing_without_force(capsys: pytest.CaptureFixture[str]) -> None:
    """If one of the files is there none is written; a link to nowhere counts as there."""
    Path("test_mine.py").symlink_to("nowhere")
    Path("mine.yaml").write_text("precious")
    line = complaint(capsys, "new", "mine", code=2)
    assert line == "alpha strategies: mine.yaml, test_mine.py: already there; --force replaces it"
    assert Path("mine.yaml").read_text() == "precious"
    assert not Path("mine.py").exists()
    said(capsys, "new", "mine", "--force")
    assert Path("mine.yaml").read_text().startswith("id: mine\n")


@pytest.mark.parametrize(
    "name", ["1st", "two words", "a-b", "_x", "class", "", "x" * 65, "é", "../up", "random", "None"]
)
def test_a_name_that_cannot_be_a_module_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line; and nothing is written. A module of Python's own would be hidden from every program run there."""
    line = complaint(capsys, "new", name, code=2)
    assert repr(name)[:60] in line
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["tick", "parameters", "signal_result", "Strategy", "x"])
def test_the_class_of_a_new_strategy_takes_no_name_that_its_file_uses(name: str) -> None:
    """Otherwise it could not be loaded."""
    scaffold.write(name, Path(), force=False)
    subject = Subject(f"./{name}.py", {}, PATIENCE)
    assert type(subject.prepare()).__name__.endswith("Strategy")


# --- check -----------------------------------------------------------------------------------

#: Before the program of a process that checks: less of everything, there and in the processes that it starts.
LESS = """
import sys
from alpha_cli.tools.strategies.conformance import cost, process, subject
subject.MARKET, cost.LONG, process._PROGRAM = 1_500, 2_500, sys.orig_argv[-1]
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the ticks: most faults show at the first of them."""
    monkeypatch.setattr(subjects, "MARKET", 1_500)
    monkeypatch.setattr(cost, "LONG", 2_500)
    monkeypatch.setattr(process, "_PROGRAM", process._PROGRAM.replace("from alpha_cli", f"{LESS}from alpha_cli", 1))


def verdicts(name: str, timeout: float = PATIENCE, **parameters: Any) -> dict[str, Result]:
    """Check -> its result, in order."""
    found = {result.check: result for result in run(name, parameters, timeout)}
    assert list(found) == list(CHECKS)
    return found


def failed(found: dict[str, Result]) -> list[str]:
    return [check for check, result in found.items() if result.mark == FAIL]


@pytest.mark.parametrize("name", rest_nightly(3, sorted(BUILT_IN, reverse=True)))
def test_every_strategy_that_comes_with_alpha_keeps_the_contract(name: str, request: pytest.FixtureRequest) -> None:
    """All checks hold; and what they compare are signals. One of them is checked on the whole market."""
    if name != "momentum":
        request.getfixturevalue("quick")
    if "ml" in name:
        pytest.importorskip("onnxruntime")
    found = verdicts(name)
    assert not failed(found), found
    assert {check: result.mark for check, result in found.items() if result.mark != OK} in (
        {},
        {"model": SKIPPED},
    ), found
    assert not found["determinism"].why.startswith("0 signals")


#: A strategy that is good, with places for what is bad.
FILE = """
from alpha_cli import SignalResult
{top}

class Mine:
    tick_fields = ()

    def __init__(self):
        pass
        {init}

    def process_tick(self, tick, history):
        speaks = bool(history) and tick.last_price > history[-1].last_price
        {body}
        return SignalResult("BUY", 1) if speaks else None
    {methods}

def create_processor():
    return Mine()
"""


def strategy(top: str = "", init: str = "", body: str = "", methods: str = "", name: str = "mine") -> str:
    """Write the strategy with these lines put in; its file."""
    parts = {
        "top": top,
        "init": init.replace("\n", "\n        "),
        "body": body.replace("\n", "\n        "),
        "methods": methods.replace("\n", "\n    "),
    }
    Path(f"{name}.py").write_text(FILE.format(**parts))
    return f"./{name}.py"


#: check -> how to fail it and no other, and what is said of it.
BAD: dict[str, tuple[dict[str, str], str]] = {
    "factory": ({"methods": "process_tick = None"}, "has no process_tick"),
    "model": (
        {"methods": "def load_model(self):\n    raise OSError('no such model')"},
        "its model cannot be loaded: OSError: no such model",
    ),
    "answers": (
        {"body": "1 / (len(history) < 9 or len({past.last_price for past in history}) - 1)"},
        r"on prices that stand still: call \d+ raises ZeroDivisionError: .* \(mine.py:14\)",
    ),
    "purity": ({"top": "import time", "body": "time.time()"}, r"it calls time.time\(\) \(mine.py:14\)"),
    "determinism": (
        {"body": "speaks = speaks and hash(tick.timestamp.isoformat()) % 2 == 0"},
        r"(another process|another hash seed and time zone): signal \d+ is ",
    ),
    "separation": (
        {
            "top": "COUNT = 0",
            "init": "global COUNT\nCOUNT = 0",
            "body": "global COUNT\nCOUNT += 1\nspeaks = speaks and COUNT % 3 == 0",
        },
        rf"{NIFTY} beside another instrument: signal 1 is ",
    ),
    "memory": (
        {"init": "self.seen = []", "body": "self.seen.append(tick.last_price)"},
        r"it holds [\d,]+ KiB more after 7,500 ticks than after 2,500",
    ),
    "state": (
        {
            "init": "self.count = 0",
            "body": "self.count += 1\nspeaks = speaks and self.count % 3 == 0",
            "methods": "def snapshot(self):\n    return {}\ndef restore(self, state):\n    self.count = 0",
        },
        r"a restart: signal \d+ is ",
    ),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("check", rest_nightly(4, BAD))
def test_a_strategy_that_is_bad_in_one_way_fails_just_that_check(check: str) -> None:
    """With the reason; what cannot be asked after it is skipped. So every check sees something, and only its own."""
    lines, why = BAD[check]
    found = verdicts(strategy(**lines))
    assert failed(found) == [check], found
    assert re.search(why, found[check].why), found[check].why
    if check in FIRST:
        after = list(found.values())[list(CHECKS).index(check) + 1 :]
        assert {(result.mark, result.why) for result in after} == {(SKIPPED, f"because {check} failed")}


def test_every_check_but_speed_can_fail() -> None:
    """A new check comes with a bad strategy. Speed is only for information."""
    assert {*BAD, "speed"} == set(CHECKS)


@pytest.mark.usefixtures("quick")
def test_all_that_is_impure_is_found_however_it_is_imported() -> None:
    """Clock, chance, files, processes, sockets, streams, threads and a changed history: one strategy does it all."""
    deeds = {
        "perf_counter()": r"calls time.perf_counter\(\)",
        "monotonic()": r"calls time.monotonic\(\)",
        "t.localtime()": r"calls time.localtime\(\)",
        "datetime.now()": r"calls datetime.now\(\)",
        "calendar.datetime.utcnow()": r"calls datetime.utcnow\(\)",
        "calendar.date.today()": r"calls date.today\(\)",
        "choice([1])": r"calls random.choice\(\)",
        "random.random()": r"calls random.random\(\)",
        "random.SystemRandom().random()": r"calls random.urandom\(\)",
        "os.urandom(1)": r"calls os.urandom\(\)",
        "uuid.uuid4()": r"calls uuid.uuid4\(\)",
        "open('mine.py').close()": "opens a file",
        "os.listdir()": "does input or output, os.listdir",
        "socket.socket().close()": "does input or output, socket.__new__",
        "subprocess.run(['true'])": "does input or output, subprocess.Popen",
        "print('here I am')": "uses sys.stdout",
        "sys.stderr.write('here I am')": "uses sys.stderr",
        "threading.Thread(target=int).start()": r"calls threading.start_(new|joinable)_thread\(\)",
        "list.reverse(history)": "changes the history",
    }  # fmt: skip
    imports = (
        "import datetime as calendar, os, random, socket, subprocess, sys, threading, time as t, uuid\n"
        "from datetime import datetime\nfrom random import choice\nfrom time import monotonic, perf_counter\n"
    )
    body = "if len(history) == 50:\n    " + "\n    ".join(deeds)
    found = verdicts(strategy(top=imports, body=body))
    assert found["purity"].mark == FAIL
    for deed, why in deeds.items():
        assert re.search(why, found["purity"].why), (deed, found["purity"].why)


@pytest.mark.usefixtures("quick")
def test_what_only_looks_impure_is_allowed() -> None:
    """Times made from numbers, chance that is seeded, a module that is imported when it is needed first."""
    found = verdicts(
        strategy(
            top="import time, random\nfrom datetime import datetime, timezone",
            init="self.chance = random.Random(7)",
            body="import colorsys\n"
            "moment = datetime.fromtimestamp(tick.timestamp.timestamp(), timezone.utc)\n"
            "assert isinstance(tick.timestamp, datetime) and type(moment) is type(tick.timestamp)\n"
            "assert moment == tick.timestamp and datetime(2026, 1, 1).year == time.gmtime(1.8e9).tm_year - 1\n"
            "random.Random(3).random()",
        )
    )
    assert not failed(found), found


def verdict(check: str, name: str, **parameters: Any) -> tuple[str, str]:
    """The mark and the reason of one check, in this process."""
    subject = Subject(name, parameters, PATIENCE)
    try:
        if check != "factory":
            subject.prepare()
        return OK, CHECKS[check](subject)
    except Verdict as found:
        return found.mark, str(found)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("check", "lines", "why"),
    [
        ("factory", {"methods": "def on_bar(self, one, two, three): ..."}, "on_bar.* asks for more than it is given"),
        ("factory", {"methods": "def snapshot(self, what): ..."}, "snapshot.* asks for more than it is given"),
        ("factory", {"methods": "tick_fields = ('volume',)"}, "tick_fields: a tick has no 'volume'"),
        ("factory", {"methods": "def __new__(cls, only=[]):\n    only.append(object.__new__(cls))\n    return only[0]"},
         "the same object twice"),
        ("factory", {"init": "raise OSError('no')"}, "cannot be made: OSError: no"),
        ("factory", {"top": "1 / 0"}, "ZeroDivisionError"),
        ("model", {"methods": "def load_model(self):\n    return False"}, r"load_model\(\) said False"),
        ("answers", {"body": "return 'BUY'"}, "on the synthetic market: answers str, not SignalResult"),
        ("answers", {"body": "tick.volume_traded"}, "no attribute 'volume_traded'"),
        ("answers", {"body": "history.append(tick)"}, "history is read-only"),
        ("answers", {"body": "return speaks and SignalResult('BUY', metadata={'is': object()}) or None"}, "TypeError"),
        ("answers", {"body": "raise SystemExit(1)"}, "call 1 raises SystemExit: 1"),
        ("answers", {"methods": "def warmup(self, history):\n    history[999]"}, "warmup raises IndexError"),
        ("answers", {"methods": "def shutdown(self):\n    1 / 0"}, "shutdown raises ZeroDivisionError"),
        ("answers", {"methods": "def on_fill(self, fill):\n    1 / 0"}, "raises ZeroDivisionError"),
        ("answers", {"methods": "bars = ('1m',)\ndef on_bar(self, bar, history):\n    1 / 0"}, "raises ZeroDivision"),
        ("determinism", {"top": "import random", "init": "self.chance = random.Random()",
                         "body": "speaks = speaks and self.chance.random() < 0.5"}, "a second run: signal"),
        ("determinism", {"body": "speaks = speaks and tick.timestamp.astimezone().hour >= 12"},
         "(another process|another hash seed and time zone): signal"),
        ("determinism", {"top": "import os", "body": "os.environ.get('PYTHONHASHSEED') == '2' and os._exit(3)"},
         "another process: its process ended with code 3"),
        ("memory", {"top": "SEEN = {}", "body": "SEEN[tick.timestamp] = tick"}, "it holds"),
        ("memory", {"top": "from functools import cache\n@cache\ndef know(it):\n    return [it]",
                    "body": "know(tick.timestamp)"}, "it holds"),
        ("memory", {"methods": "seen = []", "body": "self.seen.append(tick.timestamp)"}, "it holds"),
        ("state", {"methods": "def snapshot(self):\n    return 1"}, r"it has snapshot\(\) but no restore\(\)"),
        ("state", {"methods": "def restore(self, state): ..."}, r"it has restore\(\) but no snapshot\(\)"),
        ("state", {"methods": "def snapshot(self):\n    return object()\ndef restore(self, state): ..."},
         "cannot be kept: TypeError"),
        ("state", {"methods": "def snapshot(self):\n    return 1\ndef restore(self, state):\n    1 / 0"},
         "cannot continue from what was kept: ZeroDivisionError"),
        ("state", {"init": "self.count = 0", "body": "self.count += 1\nspeaks = speaks and self.count % 3 == 0",
                   "methods": "def snapshot(self):\n    count, self.count = self.count, 0\n    return count\n"
                              "def restore(self, state):\n    self.count = state"},
         r"going on after snapshot\(\): signal"),
    ],
)  # fmt: skip
def test_each_check_finds_what_it_is_there_for(check: str, lines: dict[str, str], why: str) -> None:
    """More ways to be bad, each with its reason."""
    try:
        mark, said_why = verdict(check, strategy(**lines))
    except Exception as error:  # what `check` makes a FAIL of
        mark, said_why = FAIL, f"{type(error).__name__}: {error}"
    assert (mark, bool(re.search(why, said_why))) == (FAIL, True), (mark, said_why)


@pytest.mark.usefixtures("quick")
def test_state_that_a_restart_forgets_is_a_warning_and_state_that_comes_back_is_none() -> None:
    """No snapshot() is no failure: a strategy may do without. It is said where it matters, and only there."""
    counts = {"init": "self.count = 0", "body": "self.count += 1\nspeaks = speaks and self.count % 3 == 0"}
    mark, why = verdict("state", strategy(**counts))
    assert mark == WARNING
    assert why.startswith("it keeps state but offers no snapshot(): a restart forgets it; a restart: signal ")
    mark, why = verdict("state", strategy(init="self.last = 0", body="self.last = tick.last_price"))
    assert (mark, why) == (WARNING, "it keeps state but offers no snapshot(): a restart forgets it")
    warm = "def warmup(self, history):\n    self.last = history[-1].last_price if history else 0"
    assert verdict("state", strategy(init="self.last = 0", body="self.last = tick.last_price", methods=warm))[0] == OK
    assert verdict("state", strategy())[0] == OK


@pytest.mark.usefixtures("quick")
def test_a_strategy_of_several_instruments_is_not_asked_to_keep_them_apart() -> None:
    """It declares `multi_instrument`; everything else holds for it too."""
    pairs = {
        "init": "self.last = {}",
        "body": "self.last[tick.instrument_token] = tick.last_price\nspeaks = speaks and len(self.last) == 2",
        "methods": "multi_instrument = True\n"
        "def snapshot(self):\n    return [list(pair) for pair in self.last.items()]\n"
        "def restore(self, state):\n    self.last = dict(state)",
    }
    name = strategy(**pairs)
    assert verdict("separation", name)[0] == SKIPPED
    assert {verdict(check, name)[0] for check in ("factory", "answers", "memory", "state")} == {OK}


def test_a_slow_strategy_is_a_warning_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Median and p99 are said either way."""
    monkeypatch.setattr(subjects, "MARKET", 300)
    assert re.fullmatch(r"median [\d.]+ µs, p99 [\d.,]+ µs", verdict("speed", strategy())[1])
    mark, why = verdict("speed", strategy(top="import time", body="time.sleep(0.0011)"))
    assert mark == WARNING
    assert "holds up the others" in why


@pytest.mark.usefixtures("quick")
def test_a_strategy_that_says_nothing_is_told_that_little_was_checked() -> None:
    """Equal silence proves nothing."""
    mark, why = verdict("answers", strategy(body="speaks = False"))
    assert mark == WARNING
    assert "0 signals" in why


@pytest.mark.usefixtures("quick")
def test_a_long_history_is_given_to_a_type_and_more_market_with_it() -> None:
    """`max_history` is a matter of configuration, and a type by itself has none."""
    subject = Subject("momentum", {"lookback": 900}, PATIENCE)
    subject.prepare()
    assert subject.config.max_history == subject.needed == 901
    assert len(subject.market()) == 2 * 2 * 901
    Path("mine.yaml").write_text(
        f"id: m\nstrategy_type: momentum\ninstruments: [{NIFTY}]\nparameters: {{lookback: 900}}\n"
    )
    found = verdicts("mine.yaml")
    assert found["factory"].why == "needs 901 ticks of history, max_history is 100; raise it"


def test_a_strategy_that_hangs_does_not_hang_the_check() -> None:
    """What hung has failed, and the rest is not tried."""
    found = verdicts(strategy(body="while tick.last_price:\n    pass"), timeout=3)
    assert (found["answers"].mark, found["answers"].why) == (FAIL, "it took longer than 3 s (--timeout)")
    assert {found[check].mark for check in list(CHECKS)[3:]} == {SKIPPED}


@pytest.mark.parametrize(
    ("deed", "why"),
    [("os._exit(3)", "its process ended with code 3"), ("os.kill(os.getpid(), 9)", "its process ended of signal 9")],
)
def test_a_strategy_that_crashes_does_not_crash_the_check(deed: str, why: str) -> None:
    """How its process ended is the reason."""
    found = verdicts(strategy(top="import os", body=deed))
    assert (found["answers"].mark, found["answers"].why) == (FAIL, why)


@pytest.mark.usefixtures("quick")
def test_what_a_strategy_prints_does_not_get_among_the_results() -> None:
    """Also past Python, at import, and in whatever other process it runs."""
    name = strategy(
        top="import os, sys\nprint('{')\nos.write(1, b'{\\n')\nsys.stderr.write('}')", methods="def x(self): ..."
    )
    assert not failed(verdicts(name))


def test_check_prints_a_line_a_check_and_its_exit_code_tells(capsys: pytest.CaptureFixture[str]) -> None:
    """0 if all hold; 65, and one line with the names of those that failed."""
    name = strategy(methods="def load_model(self):\n    return False")
    assert execute(["strategies", "check", name]) == 65
    both = capsys.readouterr()
    lines = [line.split(maxsplit=2) for line in both.out.splitlines()]
    assert [(mark, check) for mark, check, _ in lines[:3]] == [("ok", "factory"), (FAIL, "model"), (SKIPPED, "answers")]
    assert [check for _, check, _ in lines] == list(CHECKS)
    assert both.err == f"alpha strategies: {name} does not keep the contract of a strategy: model\n"


def test_parameters_are_those_that_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """They take the place of what would be set; what will not do fails the factory. What is no JSON is refused."""
    assert execute(["strategies", "check", "momentum", "--parameters", '{"lookback": 0}']) == 65
    assert "parameter lookback: input should be greater than or equal to 1" in capsys.readouterr().out
    for text in ("{", "[1]", "1"):
        assert "--parameters" in complaint(capsys, "check", "momentum", "--parameters", text, code=2)


def test_check_works_from_the_shell_where_a_file_hides_a_module_of_python(tmp_path: Path) -> None:
    """The process that checks does not look for modules in the current folder before all others."""
    (tmp_path / "json.py").write_text("raise SystemExit('hidden')")
    program = (
        "import sys\nfrom alpha_cli.cli.app import execute\nsys.exit(execute(['strategies', 'check', 'momentum']))"
    )
    made = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, env=environment(), capture_output=True, timeout=DEADLINE,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr


def test_the_process_that_checks_ends_with_the_command() -> None:
    """Whoever stops listening leaves nothing behind."""
    name = strategy(body="while tick.last_price:\n    pass")
    results: Iterator[Result] = run(name, {}, PATIENCE)
    assert next(results).check == "factory"
    frame = results.gi_frame  # type: ignore[attr-defined]
    process = frame.f_locals["process"]
    results.close()  # type: ignore[attr-defined]
    assert process.returncode == -9
