"""Watching runs from a notebook, and starting them there."""

import asyncio
import base64
import json
import time
from pathlib import Path

import pytest
from run_folders import make_run, points

from convmixer.errors import UserError
from convmixer.notebook import launch
from convmixer.notebook import watch as watching
from convmixer.notebook.launch import Launcher, start
from convmixer.notebook.watch import Watch, watch
from convmixer.tracking.runs import Run

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with three points, in the `logs/` of the folder to be in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watching, "SECONDS", 0.02)
    folder = make_run(tmp_path / "logs", "a")
    (folder / "log.jsonl").write_text(points(10, 20, 30))
    return Run(folder)


def grow(run: Run) -> None:
    with (run.folder / "log.jsonl").open("a") as log:
        log.write(points(1000))


async def until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_the_widget_grows_with_its_run(growing: Run) -> None:
    async def notebook() -> None:
        shown = watch("a")
        assert WIDGET in shown._repr_mimebundle_()
        before = shown._image.value
        assert bytes(before).startswith(b"\x89PNG")
        grow(growing)
        await until(lambda: shown._image.value != before)
        assert "1000" in shown._table.value
        shown.stop()

    asyncio.run(notebook())


def test_the_widget_offers_new_runs_and_shows_those_that_are_picked(growing: Run) -> None:
    async def notebook() -> None:
        shown = watch()
        assert [label.split() for label, _ in shown._list.options] == [["a", "try", "killed"]]
        make_run(growing.folder.parents[1], "b", valid=0.9)
        await until(lambda: len(shown._list.options) == 2)
        assert shown._list.value == (str(growing.folder),)
        (make_run(growing.folder.parents[1], "c") / "run.yaml").write_text("{")
        await until(lambda: len(shown._list.options) == 3)
        assert "c  try  damaged" in dict(shown._list.options)
        shown._list.value = [folder for label, folder in shown._list.options if "damaged" not in label]
        assert {r.uuid for r in shown.runs} == {"a", "b"} and "<th>b</th>" in shown._table.value
        shown.stop()

    asyncio.run(notebook())


def test_a_removed_run_does_not_stop_the_widget(growing: Run) -> None:
    async def notebook() -> None:
        make_run(growing.folder.parents[1], "b")
        shown = watch("a")
        growing.folder.rename(growing.folder.parents[2] / "elsewhere")
        await until(lambda: len(shown._list.options) == 1)
        assert not shown._task.done()
        shown.stop()

    asyncio.run(notebook())


def test_a_cell_that_is_run_again_takes_over(growing: Run) -> None:
    async def notebook() -> None:
        first, second = watch("a"), watch("a")
        await until(first._task.done)
        assert not second._task.done()
        second.stop()

    asyncio.run(notebook())


def test_without_widgets_it_is_a_picture(growing: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "find_spec", lambda name: None)
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    shown = watch("a")
    bundle = shown._repr_mimebundle_()
    assert bundle.keys() == {"text/plain", "image/png"}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    grow(growing)
    assert shown._repr_mimebundle_()["image/png"] != bundle["image/png"]  # the cell run again
    assert "start('epochs=1')" in Launcher("epochs=1")._repr_mimebundle_()["text/plain"]


def test_before_any_run_it_says_how_to_start_one_and_waits_for_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SECONDS", 0.02)

    async def notebook() -> None:
        shown = watch()
        bundle = shown._repr_mimebundle_()
        assert "Start a run" in shown._table.value and "Start a run" in bundle["text/plain"]
        assert "image/png" not in bundle
        (make_run(here / "logs", "a") / "log.jsonl").write_text(points(10, 20))
        await until(lambda: bytes(shown._image.value).startswith(b"\x89PNG"))
        assert [r.uuid for r in shown.runs] == ["a"]
        shown.stop()

    asyncio.run(notebook())


def test_a_run_is_started_and_stopped(tiny_run_overrides: list[str], here: Path) -> None:
    run, process = start(*tiny_run_overrides[:-1], "epochs=10000")
    assert run.is_running() or process.poll() is None
    end = time.monotonic() + 60
    while run.metrics.empty:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    process.terminate()
    assert process.wait(60) == 143
    assert run.checkpoint("last").exists() and not run.summary


def test_a_run_that_can_not_start_says_why(here: Path) -> None:
    with pytest.raises(UserError, match=r"^command line: unknown key optimizer\.lr, did you mean"):
        start("optimizer.lr=1")
    assert not (here / "logs").exists()


@pytest.mark.slow
def test_the_buttons_start_a_run_and_show_it(tiny_run_overrides: list[str], here: Path) -> None:
    async def notebook() -> None:
        launcher = Launcher("optimizer.lr=1")
        launcher._repr_mimebundle_()
        launcher._start.click()
        await until(lambda: "did you mean" in launcher._message.value, 60)
        launcher._field.value = " ".join(tiny_run_overrides)
        await until(lambda: not launcher._start.disabled)
        launcher._start.click()
        await until(lambda: launcher.watch is not None, 60)
        await until(lambda: not launcher._start.disabled, 60)
        (run,) = launcher.watch.runs
        assert json.loads((run.folder / "summary.json").read_text())["epochs"] == 3
        launcher.watch.stop()

    asyncio.run(notebook())


def test_a_watch_draws_only_what_is_new(growing: Run) -> None:
    shown = Watch([growing])
    assert shown.picture() is shown.picture()
    before = shown.picture()
    grow(growing)
    assert shown.picture() is not before
