"""The notebooks in a real JupyterLab, in Chromium."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import PROJECT

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def page() -> Iterator:
    """A page of a headless Chromium. Where it must be there (CI), its absence fails."""
    missing = [name for name in ("jupyterlab", "ipywidgets", "playwright") if not find_spec(name)]
    missing += [] if Path(CHROMIUM).exists() else [CHROMIUM]
    if missing:
        (pytest.fail if os.environ.get("CONVMIXER_CI") else pytest.skip)(f"not installed: {', '.join(missing)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1300, "height": 1400})
        browser.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab whose files, and settings, are those of an empty folder."""
    for notebook in (PROJECT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, tmp_path)
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "HOME": str(tmp_path / "home"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "home" / "config"),
        "JUPYTER_DATA_DIR": str(tmp_path / "home" / "data"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "home" / "runtime"),
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    command += [f"--ServerApp.root_dir={tmp_path}", "--IdentityProvider.token=secret", "--LabApp.news_url=None"]
    log = tmp_path / "jupyterlab.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=output)
    try:
        yield _address(log, server)
    finally:
        server.terminate()
        server.wait(30)


def _address(log: Path, server: subprocess.Popen) -> str:
    end = time.monotonic() + 60
    while not (found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())):
        assert server.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    return found.group()


def open_notebook(page, lab: str, name: str) -> None:
    page.goto(f"{lab}lab/tree/{name}.ipynb?token=secret")
    page.wait_for_selector(".jp-CodeCell", timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)


def run_all_cells(page) -> None:
    page.click("text=Run >> visible=true")
    page.click("text=Run All Cells >> visible=true")


@pytest.mark.slow
def test_anatomy_shows_its_figures(command, tiny_run_overrides, lab: str, page) -> None:
    command(*tiny_run_overrides)
    open_notebook(page, lab, "anatomy")
    run_all_cells(page)
    page.wait_for_function("document.querySelectorAll('.jp-OutputArea img').length >= 5", timeout=120_000)
    assert page.locator(".jp-OutputArea img").first.bounding_box()["width"] > 300
    assert page.locator(".jp-OutputArea [data-mime-type='application/vnd.jupyter.stderr']").count() == 0


@pytest.mark.slow
def test_a_run_started_in_monitor_is_seen_to_grow(command, tiny_run_overrides, lab: str, page) -> None:
    command(*tiny_run_overrides)
    open_notebook(page, lab, "monitor")
    run_all_cells(page)
    field = page.locator(".widget-text input")
    field.wait_for(timeout=120_000)
    field.fill(" ".join([*tiny_run_overrides[:-1], "epochs=60"]))
    page.get_by_role("button", name="Start", exact=True).click()
    curves = page.locator("img.widget-image").nth(1)  # the first is the watch of the runs that were there
    curves.wait_for(timeout=60_000)
    shown = curves.get_attribute("src")
    page.wait_for_function(f"document.querySelectorAll('img.widget-image')[1].src != '{shown}'", timeout=60_000)
    started = page.get_by_text(re.compile(r"^run [0-9a-f]{8}$")).inner_text().split()[1]
    ended = page.locator("option", has_text=re.compile(f"{started}.*completed")).last
    ended.wait_for(state="attached", timeout=120_000)
