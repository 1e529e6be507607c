"""README and docs/: links lead somewhere, commands are right, tables are current."""

import ast
import itertools
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from conftest import PROJECT

from convmixer.cli import command_line
from convmixer.configs import Configs
from convmixer.configs.keys import keys_of
from convmixer.configs.overrides import check, split_assignments
from convmixer.configs.table import config_table
from convmixer.errors import UserError
from convmixer.sweeps.space_text import read_space

README, CHINESE = PROJECT / "README.md", PROJECT / "README.zh.md"
PAGES = [README, CHINESE, PROJECT / "results" / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:^|`|    )(\$ )?python experiment\.py([^`\n]*)", re.MULTILINE)
SHELL = ("&&", "|", ">", ";")  # what ends a command
PLACEHOLDERS = ("...", "KEY=", "NAME=")
# The first words of a docstring that names a thing by a question or a part, and does not say what the code does.
RIDDLES = {"What", "Whether", "Which", "How", "Who", "Whom", "Whose", "Where", "When", "Why", "Those", "Of", "Likewise"}


def name(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def heading_links(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_images_lead_to_what_is_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{name(page)} links to {target}"
        assert not anchor or anchor in heading_links(found), f"{name(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_are_understood(page: Path, understand: Callable[[list[str]], None]) -> None:
    for shown_wrong, arguments in COMMAND.findall(page.read_text()):
        words = shlex.split(arguments, comments=True)
        words = list(itertools.takewhile(lambda word: word not in SHELL, words))
        if any(word.startswith(PLACEHOLDERS) for word in words):
            continue
        try:
            understand(words)
        except (UserError, click.ClickException) as error:
            message = error.format_message() if isinstance(error, click.ClickException) else str(error)
            assert shown_wrong and f"error: {message}" in page.read_text(), f"{name(page)}:{arguments}: {message}"


@pytest.fixture
def understand(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Parses a command as the command line does, and checks its keys, without doing it."""
    keys = keys_of(Configs)

    def read_overrides(overrides: tuple[str, ...] = (), **options: object) -> None:
        check(split_assignments(overrides), keys, "command line")

    def read_searched(overrides: tuple[str, ...], **options: object) -> None:
        read_space(split_assignments(overrides), keys, "command line")

    def read_changes(overrides: tuple[str, ...], **options: object) -> None:
        read_overrides(tuple(word for word in overrides if word != "stop=true"))  # which is no key

    of_its_own = {command_line.commands["sweep"].commands["run"]: read_searched}
    of_its_own[command_line.commands["set"]] = read_changes
    for command in leaves(command_line):
        monkeypatch.setattr(command, "callback", of_its_own.get(command, read_overrides))
    return lambda words: command_line.main(words, standalone_mode=False, obj=Configs)


def leaves(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from leaves(command) if isinstance(command, click.Group) else [command]


def test_a_wrong_command_is_not_understood(understand: Callable[[list[str]], None]) -> None:
    understand(["resume", "last", "device=cpu"])
    for words in (["epoch=3"], ["resume"], ["sweep", "d_model=4,x"], ["runs", "--all"]):
        with pytest.raises((UserError, click.ClickException)):
            understand(words)


def commands(page: Path) -> list[str]:
    """The lines of a page's code, and its code within lines, without comments."""
    lines = re.findall(r"^```[\s\S]*?^```|^    .*$", page.read_text(), re.MULTILINE)
    return [re.sub(r" +# .*", "", line) for line in lines] + re.findall(r"`([^`\n]+)`", page.read_text())


def links(page: Path) -> list[str]:
    return [
        link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if link not in (README.name, CHINESE.name)
    ]


def test_the_chinese_readme_has_the_same_commands_links_and_figures() -> None:
    assert commands(CHINESE) == commands(README) and len(commands(README)) > 20
    assert links(CHINESE) == links(README)
    figures = [re.findall(r"\d+\.\d+", page.read_text()) for page in (CHINESE, README)]
    assert figures[0] == figures[1]
    assert f"]({CHINESE.name})" in README.read_text() and f"]({README.name})" in CHINESE.read_text()


def test_the_readmes_are_short_and_begin_with_the_two_setup_commands() -> None:
    for page in (README, CHINESE):
        text = page.read_text()
        assert len(text.splitlines()) < 120
        assert "\n    pip install -r requirements.txt && python experiment.py\n" in text
        assert "\n    pip install -r requirements-dev.txt && pytest\n" in text


def test_the_first_command_classifies_an_image_before_any_training(call: Callable, here: Path) -> None:
    arguments, shown = re.search(r"    python experiment\.py (predict .*)\n    (.*)\n", README.read_text()).groups()
    files = [str(PROJECT / word) if "/" in word else word for word in arguments.split()]
    printed = call(*files, "--format", "table").out
    assert printed.split()[1:] == shown.split()[1:]


def test_the_table_of_keys_is_current() -> None:
    page = PROJECT / "docs" / "configs.md"
    assert page.read_text() == config_table(), "python -m convmixer.configs.table > docs/configs.md"


def docstrings(file: Path) -> Iterator[tuple[str, str]]:
    """Yield each docstring of a file with the name of what it describes."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield f"{name(file)}: {getattr(node, 'name', 'module')}", text


def test_docstrings_say_what_a_thing_does() -> None:
    found = sorted((PROJECT / "convmixer").rglob("*.py"))
    assert len(found) > 100
    for where, text in itertools.chain.from_iterable(map(docstrings, found)):
        assert text.split()[0] not in RIDDLES, f"{where}: {text.splitlines()[0]}"


def test_every_file_of_the_picture_of_the_code_is_there() -> None:
    picture = (PROJECT / "docs" / "data-flow.svg").read_text()
    files = set(re.findall(r"[\w/]+\.(?:py|ipynb)", picture))
    assert len(files) > 15
    for file in files:
        where = ("", "convmixer", "convmixer/configs", "convmixer/training", "convmixer/trained", "notebooks")
        assert any((PROJECT / folder / file).exists() for folder in where), file
