"""Tables of results: what a row says of its origin, and which rows are old."""

import importlib
import subprocess
from pathlib import Path

import pytest

from benchmarks import everything, tables
from benchmarks.everything import Table
from benchmarks.recipes import command_of, summary

AUTHOR = ("-c", "user.name=A Student", "-c", "user.email=student@example.org")


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A repository with two commits, `first` and `second`: the second changes `kernels.py`, and words of `data.py`."""
    monkeypatch.setattr(tables, "PROJECT", tmp_path)
    tables.git("init", "--quiet")
    for name, value in (("first", 1), ("second", 2)):
        (tmp_path / "kernels.py").write_text(f"a = {value}")
        (tmp_path / "passes.h").write_text(f"// {name}")
        (tmp_path / "data.py").write_text(f'"""The {name} docstring."""\n\nb = 1  # in the {name} commit\n')
        tables.git("add", "kernels.py", "passes.h", "data.py")
        tables.git(*AUTHOR, "commit", "--quiet", "--message", name)
        tables.git("tag", name)
    return tmp_path


def test_a_row_says_how_it_was_measured(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["python3", "-m", "benchmarks.kernels", "--threads", "2", "--csv", "speed.csv"]
    monkeypatch.setattr("sys.orig_argv", words)
    table = history / "speed.csv"
    tables.put(table, [{"operation": "forward", "ratio": 2.5, "limit": None}])
    (row,) = tables.read(table)
    assert row["operation"] == "forward" and row["ratio"] == "2.5" and row["limit"] == ""
    assert row["command"] == "python -m benchmarks.kernels --threads 2"
    assert row["commit"] == tables.commit() and "torch" in row["machine"]


def test_a_new_row_takes_the_place_of_the_one_with_the_same_key(history: Path) -> None:
    table = history / "speed.csv"
    tables.put(table, [{"operation": "forward", "ratio": 1}, {"operation": "backward", "ratio": 2}])
    tables.put(table, [{"operation": "forward", "ratio": 3, "threads": 2}], key=("operation",))
    rows = [(row["operation"], row["ratio"], row["threads"]) for row in tables.read(table)]
    assert rows == [("forward", "3", "2"), ("backward", "2", "")]


def test_without_a_key_the_new_rows_are_the_table(history: Path) -> None:
    table = history / "speed.csv"
    for n in (3, 2):
        tables.put(table, [{"number": i} for i in range(n)])
    assert [row["number"] for row in tables.read(table)] == ["0", "1"]


def test_a_table_that_can_t_be_written_keeps_its_rows(history: Path) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise OSError("no space left on device")

    table = history / "speed.csv"
    tables.put(table, [{"ratio": 1}])
    with pytest.raises(OSError):
        tables.put(table, [{"ratio": Unprintable()}])
    assert tables.read(table)[0]["ratio"] == "1"


@pytest.mark.parametrize(
    ("row", "measures", "reason"),
    [
        ({"command": "c", "commit": "second"}, ["kernels.py"], None),
        ({"command": "c", "commit": "first"}, ["data.py"], None),
        (
            {"command": "c", "commit": "first"},
            ["data.py", "kernels.py"],
            "the code has changed since first: kernels.py",
        ),
        (
            {"command": "c", "commit": "first"},
            ["."],
            "the code has changed since first: kernels.py and 1 other file",
        ),
        ({"command": "", "commit": "second"}, ["kernels.py"], "no command"),
        ({"command": "c"}, ["kernels.py"], "no commit"),
        ({"command": "c", "commit": "0123456789"}, ["kernels.py"], "commit 0123456789 is not in this repository"),
    ],
)
def test_a_row_is_old_when_its_code_has_changed(history: Path, row: dict, measures: list[str], reason: str) -> None:
    found = tables.why_old(row, measures)
    assert found is None if reason is None else found.startswith(reason)


@pytest.mark.parametrize(
    ("later", "is_old"),
    [
        ({"small": "5", "large": "9"}, False),
        ({"small": "5  # pixels", "medium": "7"}, False),
        ({"small": "7", "medium": "5"}, True),
        ({"medium": "5"}, True),
    ],
)
def test_a_row_is_old_when_its_recipe_has_other_values_and_not_when_another_one_has(
    history: Path, later: dict[str, str], is_old: bool
) -> None:
    before = write_recipes(history, small="5", medium="5")
    write_recipes(history, **later)
    for named in ({"recipe": "small"}, {}):  # what is measured without a recipe's name has the default one
        found = tables.why_old({"command": "c", "commit": before, **named}, [tables.RECIPES])
        assert found == (f"the code has changed since {before}: {tables.RECIPES}" if is_old else None)


def write_recipes(repository: Path, **kernel_sizes: str) -> str:
    """Commit a recipes.py whose recipes set `kernel_size`, and return the commit."""
    file = repository / tables.RECIPES
    file.parent.mkdir(parents=True, exist_ok=True)
    functions = [f"def {name}():\n    return {{'kernel_size': {value}\n}}" for name, value in kernel_sizes.items()]
    table = f"RECIPES = {{recipe.__name__: recipe for recipe in [{', '.join(kernel_sizes)}]}}"
    file.write_text("\n\n".join([*functions, table]))
    tables.git("add", tables.RECIPES)
    tables.git(*AUTHOR, "commit", "--quiet", "--message", "recipes")
    return tables.commit()


def test_a_data_set_s_path_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    words = ["recipe=small", "data.path=/home/me/cifar", "optimizer.learning_rate=log(1e-3,1)"]
    assert tables.shown(words) == "recipe=small data.path=FOLDER 'optimizer.learning_rate=log(1e-3,1)'"
    assert command_of(words[:2]) == "python experiment.py data.path=FOLDER recipe=small"


def test_the_command_of_a_run_names_its_script_and_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert command_of(["seed=1", "between=32"], "mine.py") == "OMP_NUM_THREADS=1 python mine.py between=32 seed=1"


def test_seeds_in_words() -> None:
    rows = [{"test": "0.87", "test_shifts": ""}, {"test": "0.88", "test_shifts": "0.9"}]
    assert summary(rows, "test").split() == ["test", "87.50%", "±", "0.71%", "of", "2:", "87.00%,", "88.00%"]
    assert summary(rows, "test_shifts").split() == ["test_shifts", "90.00%", "of", "1:", "90.00%"]


@pytest.fixture
def measured(history: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """A table that the script `kernels.py` of the repository measures."""
    monkeypatch.setattr(everything, "PROJECT", history)
    monkeypatch.setattr(everything, "RESULTS", history)
    (history / "measure.py").write_text(
        "import csv, subprocess, sys\n"
        "commit = subprocess.run(['git', 'rev-parse', 'HEAD'], stdout=subprocess.PIPE, text=True).stdout.strip()\n"
        "with open(sys.argv[-1], 'w', newline='') as file:\n"
        "    csv.writer(file).writerows([['command', 'commit'], ['python -m measure', commit]])\n"
    )
    return Table("speed.csv", ["python -m measure"], 1, ["kernels.py"])


def test_everything_measures_what_is_missing_or_old_and_nothing_else(measured: Table, capfd, monkeypatch) -> None:
    monkeypatch.setattr(everything, "TABLES", [measured])
    assert everything.check() == 1
    assert everything.measure([measured], hours=1) == []
    assert everything.check() == 0
    assert everything.measure([measured], hours=1) == []
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "speed.csv: never measured"
    assert lines[1] == "speed.csv: python -m measure" and lines[2].startswith("speed.csv: done after")
    assert lines[3:] == ["speed.csv: there: python -m measure"]


def test_what_fails_is_named_and_what_does_not_fit_is_left_out(measured: Table, capfd) -> None:
    assert everything.measure([Table("none.csv", ["python -m nothing"], 1, [])], hours=1) == ["python -m nothing"]
    assert everything.measure([measured], hours=0.01) == []
    assert "speed.csv: left out, takes 1 minutes: python -m measure" in capfd.readouterr().out


BENCHMARKS = sorted(
    ".".join(path.relative_to(tables.PROJECT).with_suffix("").parts)
    for path in (tables.PROJECT / "benchmarks").rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("module", BENCHMARKS)
def test_each_benchmark_can_be_imported(module: str) -> None:
    """They are not run here; what they take from the package must be there."""
    importlib.import_module(module)


def test_each_command_of_everything_is_a_benchmark_that_takes_a_table() -> None:
    for words in (command.split() for table in everything.TABLES for command in table.commands):
        assert words[:2] == ["python", "-m"]
        source = tables.PROJECT.joinpath(*words[2].split("."))
        source = source / "__main__.py" if source.is_dir() else source.with_suffix(".py")
        assert '"--csv"' in source.read_text(), words[2]


def test_git_that_says_nothing_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        tables.git("show", "no-such-commit")
