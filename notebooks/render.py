"""Run a notebook and write what it shows as Markdown with pictures: how docs/monitor.md and docs/anatomy.md are made.

python notebooks/render.py anatomy network=FILE.safetensors data_path=FOLDER
python notebooks/render.py monitor 'names=["a83e91ca", "5a46b3bc"]' --project FOLDER
"""

import io
import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import click
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode
from PIL import Image, ImageChops, ImageStat

HERE = Path(__file__).resolve().parent
PARAMETERS, SETUP = "parameters", "setup"  # tags of cells: after the one values are given, the other is not shown

LARGE = 150_000  # bytes of a picture
ABSOLUTE = re.compile(r"(?<![\w.)~:/])/(?:[\w.-]+/)+([\w.-]+)")  # a path of this machine; its last part stays
FOOTER = "[notebooks/{name}.ipynb](../notebooks/{name}.ipynb), run by `python notebooks/render.py {name} {values}`.\n"


def executed(name: str, values: dict[str, Any], folder: Path) -> NotebookNode:
    """A notebook of this folder, run in `folder`, where the `logs/` are.

    Args:
        values: of the names that its cell tagged `parameters` defines.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if PARAMETERS in cell.metadata.get("tags", []) and values:
            cell.source = "\n".join(f"{key} = {value!r}" for key, value in values.items())
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, timeout=600)
    return client.execute(env=environment)


def as_markdown(name: str, notebook: NotebookNode, output: Path) -> Path:
    """Write `output/NAME.md`, and its pictures to `output/NAME/`."""
    notebook.cells = [cell for cell in notebook.cells if SETUP not in cell.metadata.get("tags", [])]
    resources = {"unique_key": name, "output_files_dir": name}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources)
    shutil.rmtree(output / name, ignore_errors=True)
    (output / name).mkdir(parents=True)
    for file, data in resources["outputs"].items():
        (output / file).write_bytes(_smaller(data))
    text = re.sub(r"<div>\s*<style scoped>.*?</style>|</div>", "", text, flags=re.DOTALL)  # pandas' own, for notebooks
    page = output / f"{name}.md"
    page.write_text(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", encoding="utf-8")
    return page


def _smaller(png: bytes) -> bytes:
    """The same picture without transparency, in 256 colours where that can't be seen or it would be too large."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    few = picture.quantize(256, kmeans=1)
    error = max(ImageStat.Stat(ImageChops.difference(picture, few.convert("RGB"))).mean)
    whole = _encoded(picture)
    return _encoded(few) if error < 0.5 or len(whole) > LARGE else whole


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@click.command()
@click.argument("name", type=click.Choice(["monitor", "anatomy"]))
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--project", type=click.Path(path_type=Path, exists=True), default=HERE.parent, help="Where logs/ is.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE.parent / "docs", help="Folder for the page.")
def main(name: str, values: tuple[str, ...], project: Path, output: Path) -> None:
    """Run the notebook NAME, with other VALUEs in its cell of parameters, and write it as a page."""
    given = {key: _value(text) for key, _, text in (value.partition("=") for value in values)}
    page = as_markdown(name, executed(name, given, project), output)
    text = f"{page.read_text(encoding='utf-8')}\n{FOOTER.format(name=name, values=' '.join(map(shlex.quote, values)))}"
    page.write_text(ABSOLUTE.sub(r"\1", text), encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
