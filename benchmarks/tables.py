"""Tables of results: each row with the command, the commit, the day and the machine that it was measured by."""

import ast
import csv
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from convmixer.console import counted
from convmixer.training.hardware import cpu_name

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "results"
RECIPES = "convmixer/configs/recipes.py"

Row = dict[str, Any]


def put(table: Path, rows: Iterable[Row], key: Sequence[str] = ()) -> None:
    """Write rows to a table, which is begun where there is none.

    Each row gets the columns `command`, `commit`, `date` and `machine`, where it has none of its own.

    Args:
        table: a CSV file. It is replaced at once: when writing fails, what it held is still there.
        rows: they may have different columns; a row without a value has an empty one.
        key: columns that name a row: a new row takes the place of the one with the same values. Without a key the new
            rows are the whole table.
    """
    origin = {"command": this_command(), "commit": commit(), "date": time.strftime("%Y-%m-%d"), "machine": machine()}
    new = [
        {name: "" if value is None else str(value) for name, value in {**row, **_missing(origin, row)}.items()}
        for row in rows
    ]
    kept = read(table) if key else []
    by_key = {tuple(row.get(name, "") for name in key) or number: row for number, row in enumerate([*kept, *new])}
    columns = list(dict.fromkeys(name for row in by_key.values() for name in row))
    unfinished = table.with_name(f".{table.name}")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(by_key.values())
    unfinished.replace(table)


def _missing(origin: Row, row: Row) -> Row:
    has_machine = {"device", "where"} & row.keys()
    return {k: v for k, v in origin.items() if k not in row and not (k == "machine" and has_machine)}


def read(table: Path) -> list[dict[str, str]]:
    """Return a table's rows, none where there is no table."""
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def why_old(row: Row, measures: Sequence[str]) -> str | None:
    """Return why a row has to be measured again; None if it stands."""
    if not row.get("command"):
        return "no command"
    if not row.get("commit"):
        return "no commit"
    try:
        changed = changed_files(row["commit"], measures, row.get("recipe") or "small")
    except subprocess.CalledProcessError:
        return f"commit {row['commit']} is not in this repository"
    more = f" and {counted(len(changed) - 1, 'other file')}" if len(changed) > 1 else ""
    return f"the code has changed since {row['commit']}: {changed[0]}{more}" if changed else None


def changed_files(commit: str, measures: Sequence[str], recipe: str) -> list[str]:
    """Return the files whose code differs now from a commit's.

    Comments and docstrings of Python are not code, and of the recipes only the values of the one that is named count.
    """
    differences = git("diff", "--raw", "--no-abbrev", "--no-renames", commit, "HEAD", "--", *measures).splitlines()
    changed = []
    for attributes, file in (line.split("\t") for line in differences):
        before, after, status = attributes.split()[2:]
        if status != "M" or not _is_same(file, before, after, recipe):
            changed.append(file)
    return changed


def _is_same(file: str, before: str, after: str, recipe: str) -> bool:
    """Return True if two contents of a file, by git's names for them, give the same figures."""
    if file == RECIPES:
        return _recipes(before).get(recipe) == _recipes(after).get(recipe)
    return file.endswith(".py") and _code(before) == _code(after)


@cache
def _recipes(blob: str) -> dict[str, Row]:
    """Return the values of each recipe of recipes.py, by git's name for its content."""
    names: Row = {}
    exec(git("cat-file", "blob", blob), names)
    return {name: recipe() for name, recipe in names["RECIPES"].items()}


@cache
def _code(blob: str) -> str:
    """Return a Python file's syntax tree in words, without docstrings, by git's name for its content."""
    tree = ast.parse(git("cat-file", "blob", blob))
    for node in ast.walk(tree):
        has_body = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if has_body and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


def this_command() -> str:
    """Return the command that runs now, without `--csv FILE` and without paths of this machine."""
    words = sys.orig_argv[1:]
    if "--csv" in words:
        at = words.index("--csv")
        del words[at : at + 2]
    return shown(["python", *words])


def shown(words: Iterable[str]) -> str:
    """Return words as a shell takes them, with FOLDER in place of a data set's path."""
    named = ("data.path=FOLDER" if word.startswith("data.path=") else word for word in words)
    return " ".join(f"'{word}'" if set(word) & set(" ()*;$") else word for word in named)


def commit() -> str:
    """Return the first ten digits of the commit that is checked out."""
    return git("rev-parse", "--short=10", "HEAD")


def git(*arguments: str) -> str:
    """Return what git says of this project, without the last line's end."""
    return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


def machine() -> str:
    """Return the processor, its instruction set, the number of threads, and torch's version."""
    instructions = torch.backends.cpu.get_cpu_capability()
    threads = counted(torch.get_num_threads(), "thread")
    return f"{cpu_name()} ({instructions}), {threads}, torch {torch.__version__}"
