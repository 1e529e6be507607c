"""`predict`: classes for images as people have them, one or thousands, by the weights that ship with the project."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXPERIMENT, PROJECT
from PIL import Image
from published import write_tree

from convmixer.trained import load
from convmixer.trained.classifier import Classifier
from convmixer.trained.predictions import find_images, predict

WEIGHTS = PROJECT / "weights" / "small-cifar10.safetensors"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of various kinds and sizes, at two depths, and what is none."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more" / "deep").mkdir(parents=True)
    random = np.random.default_rng(0)
    for i, kind in enumerate(["png", "jpg", "webp", "gif", "bmp", "tif"]):
        pixels = random.integers(0, 256, (20 + 9 * i, 50 - 3 * i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("more" if i % 2 else ".") / f"{i}.{kind}")
    Image.new("RGBA", (40, 40), (90, 160, 230, 120)).save(folder / "more" / "deep" / "sky.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


@pytest.fixture
def rows(call: Callable) -> Callable[..., list[dict]]:
    """What `predict WEIGHTS ... --format jsonl` gives."""
    return lambda *arguments, status=0: [
        json.loads(line)
        for line in call("predict", WEIGHTS, *arguments, "--format", "jsonl", status=status).out.splitlines()
    ]


def test_a_folder_is_searched_at_any_depth(photos, rows) -> None:
    found = [os.path.relpath(row["file"], photos) for row in rows(photos)]
    assert found == ["0.png", "2.webp", "4.bmp", "more/1.jpg", "more/3.gif", "more/5.tif", "more/deep/sky.png"]


def test_probabilities_are_those_of_the_network(photos, rows) -> None:
    (row,) = rows(photos / "more/1.jpg", "--top", 10)
    trained = load(str(WEIGHTS))
    image = Image.open(photos / "more/1.jpg").convert("RGB")
    side = min(image.size)
    left, upper = (image.width - side) / 2, (image.height - side) / 2
    box = (left, upper, left + side, upper + side)
    pixels = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC, box))
    expected = trained.model(trained.normalise(torch.from_numpy(pixels.copy())[None])).softmax(1)[0].detach()
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    for name, value in row["probabilities"].items():
        assert value == pytest.approx(expected[trained.classes.index(name)].item(), abs=2e-6)
    assert next(iter(row["probabilities"])) == row["class"] == trained.classes[expected.argmax()]


@pytest.mark.parametrize("top", [1, 3, 10, 99])
def test_top_says_how_many_classes_are_named(photos, rows, top: int) -> None:
    for row in rows(photos, "--top", top):
        values = list(row["probabilities"].values())
        assert len(values) == min(top, 10) and values == sorted(values, reverse=True)


def test_csv_holds_the_same(photos, call, rows) -> None:
    table = list(csv.DictReader(io.StringIO(call("predict", WEIGHTS, photos, "--format", "csv").out)))
    for line, row in zip(table, rows(photos), strict=True):
        assert (line["file"], line["class"], line["error"]) == (row["file"], row["class"], "")
        assert float(line["probability"]) == row["probability"]
        assert list(row["probabilities"]) == [line["class"], line["class_2"], line["class_3"]]


def test_the_table_is_one_line_an_image(photos, call) -> None:
    written = call("predict", WEIGHTS, photos, "--format", "table")
    lines = written.out.splitlines()
    assert len(lines) == 7 and all(re.search(r"\.\w+ +(\w+ +\d+\.\d%\s*){3}$", line) for line in lines)
    passed_over, speed = written.err.splitlines()
    assert passed_over.endswith(": passed over 1 file without the ending of an image (.txt: 1)")
    assert re.fullmatch(r"7 images in \d+\.\d s: \d+ images/s", speed)


def test_output_names_the_format(photos, call, here) -> None:
    call("predict", WEIGHTS, photos, "--output", "found.jsonl")
    call("predict", WEIGHTS, photos, "--output", "found.csv")
    assert json.loads(Path("found.jsonl").read_text().splitlines()[0])["class"]
    assert Path("found.csv").read_text().startswith("file,class,probability,")
    assert sorted(os.listdir()) == ["found.csv", "found.jsonl"]


def test_broken_files_are_reported_and_the_rest_goes_on(photos, call, here) -> None:
    whole = (photos / "0.png").read_bytes()
    for name, data in {"a.png": whole, "b.png": whole[:60], "c.jpg": b"", "d.gif": b"broken", "e.png": whole}.items():
        Path(name).write_bytes(data)
    written = call("predict", WEIGHTS, "a.png", "b.png", "c.jpg", "d.gif", "e.png", "--format", "csv", status=1)
    table = list(csv.DictReader(io.StringIO(written.out)))
    assert [bool(row["error"]) for row in table] == [False, True, True, True, False]
    assert table[0]["class"] == table[4]["class"] and table[2]["error"] == "is not an image"
    errors = written.err.splitlines()
    assert errors[0].startswith("b.png cannot be used: ") and errors[1:3] == [
        "c.jpg is not an image",
        "d.gif is not an image",
    ]
    assert errors[-1] == "error: 3 of 5 images could not be read" and len(errors) == 5


def test_all_broken(call, here) -> None:
    Path("a.png").write_text("broken")
    assert '"error": "is not an image"' in call("predict", WEIGHTS, "a.png", "--format", "jsonl", status=1).out


REFUSED = {
    "nowhere.png": "nowhere.png: no such file or folder",
    "empty": "empty: no images in this folder",
    "- a.png": "standard input) can't be combined with files",
    "a.png d_model=3": "d_model can't be changed",
    "a.png devcie=cpu": "did you mean device?",
    "a.png device=cuda:99": "cuda:99",
    "a.png --output nowhere/x.csv": "there is no folder nowhere",
    "a.png --output pipe": "is not an ordinary file",
    "a.png --top 0": "--top",
    "a.png --format xml": "--format",
    "": "Missing argument",
    "device=cpu": "no images are given",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_wrong_arguments_are_refused(refusal, photos, here, arguments) -> None:
    Path("empty").mkdir()
    Path("a.png").write_bytes((photos / "0.png").read_bytes())
    os.mkfifo("pipe")
    assert REFUSED[arguments] in refusal(["predict", str(WEIGHTS), *arguments.split()])
    assert sorted(os.listdir()) == ["a.png", "empty", "pipe"]


def ask(*arguments: object, given: bytes = b"") -> subprocess.CompletedProcess:
    """`predict` as a process, with bytes on standard input."""
    command = [sys.executable, str(EXPERIMENT), "predict", str(WEIGHTS), *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, timeout=120)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes on this process's standard input."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input_may_be_an_image(photos, rows) -> None:
    (row,) = rows(photos / "more/1.jpg")
    piped = ask("-", "--format", "jsonl", given=(photos / "more/1.jpg").read_bytes())
    assert json.loads(piped.stdout) == row | {"file": "-"} and piped.returncode == 0


def test_standard_input_may_be_a_list_of_paths(photos, rows, stdin) -> None:
    stdin(f"{photos}/0.png\n{photos}/gone.png\n{photos}/2.webp\n".encode())
    first, gone, last = rows("-", status=1)
    assert gone == {"file": f"{photos}/gone.png", "error": "cannot be read: No such file or directory"}
    assert [first, last] == rows(photos / "0.png", photos / "2.webp")


@pytest.mark.parametrize(
    "name", ["BMW/0.png", "P1 0.png", "GIF89a.png", "II*.png", "\u2028.png", "caf\udce9.png", "RIFF.png"]
)
def test_paths_that_begin_as_images_do(photos, here, rows, stdin, name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes((photos / "0.png").read_bytes())
    for end in (b"\n", b"\r\n"):
        stdin(os.fsencode(name) + end + os.fsencode(photos / "0.png") + end)
        assert [row["file"] for row in rows("-")] == [name, str(photos / "0.png")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_with_a_byte_order_mark(photos, here, rows, stdin, encoding: str) -> None:
    Path("é.png").write_bytes((photos / "0.png").read_bytes())
    stdin("é.png\n".encode(encoding))
    assert [row["file"] for row in rows("-")] == ["é.png"]


def test_an_image_that_is_all_text(rows, stdin) -> None:
    stdin(b"P3\n2 1\n255\n255 0 0  0 255 0\n")
    (row,) = rows("-")
    assert row["file"] == "-" and "error" not in row


def test_a_broken_image_on_standard_input(photos, rows, stdin) -> None:
    stdin((photos / "0.png").read_bytes()[:100])
    (row,) = rows("-", status=1)
    assert row["file"] == "-" and row["error"].startswith("cannot be")


@pytest.mark.parametrize(("given", "message"), [(b"\n", "is empty"), (b"\x00\x01\x02", "neither an image nor")])
def test_other_standard_input_is_refused(refusal, stdin, given: bytes, message: str) -> None:
    stdin(given)
    assert message in refusal(["predict", str(WEIGHTS), "-"])


def test_names_of_any_bytes(photos, here, call) -> None:
    odd = os.fsdecode(b"caf\xe9 \n\x1b[1m.png")
    Path(odd).write_bytes((photos / "0.png").read_bytes())
    (row,) = (json.loads(line) for line in call("predict", WEIGHTS, here, "--format", "jsonl").out.splitlines())
    assert row["file"] == str(here / odd)
    call("predict", WEIGHTS, here, "--output", "found.csv")
    assert os.fsencode(odd) in Path("found.csv").read_bytes()
    table = call("predict", WEIGHTS, here, "--format", "table").out
    assert table.count("\n") == 1 and "\x1b" not in table


def test_a_reader_that_leaves_early(photos) -> None:
    """`predict ... | head -1`."""
    command = f'"{sys.executable}" "{EXPERIMENT}" predict "{WEIGHTS}" {" ".join([str(photos)] * 200)} | head -1'
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120)
    assert ended.stdout.startswith("file,") and "Traceback" not in ended.stderr


def test_a_disk_that_is_full(photos) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "w") as full:
        command = [sys.executable, str(EXPERIMENT), "predict", str(WEIGHTS), str(photos)]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert "error: standard output: can't be written: No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr and ended.returncode == 2


def test_images_are_decoded_only_as_fast_as_they_are_classified(photos) -> None:
    """A million images need no more memory than two batches."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield str(photos / "0.png")

    found = predict(Classifier(load(str(WEIGHTS)), "cpu"), endless(), batch_size=8)
    for done in range(1, 30):
        next(found)
        assert taken <= 8 * (done // 8 + 1) + 16
    found.close()


def test_batches_make_no_difference(photos) -> None:
    classifier = Classifier(load(str(WEIGHTS)), "cpu")
    files = find_images([str(photos)])
    for size in (1, 3, 100):
        for one, other in zip(predict(classifier, files, size), predict(classifier, files, 2), strict=True):
            assert one.file == other.file
            torch.testing.assert_close(one.probabilities, other.probabilities, rtol=0, atol=1e-6)


def test_a_diverged_network_is_no_prediction(photos, refusal, monkeypatch) -> None:
    monkeypatch.setattr(
        "convmixer.trained.network.Trained.normalise", lambda self, images: images.permute(0, 3, 1, 2) * torch.nan
    )
    assert "outputs are not finite" in refusal(["predict", str(WEIGHTS), str(photos / "0.png")])


@pytest.mark.slow
def test_ten_thousand_real_images(cifar10_files, tmp_path) -> None:
    """CIFAR-10's test images as files: as many are right as `evaluate` says of the data set."""
    tree = write_tree(cifar10_files, tmp_path / "cifar", test=1000)
    ask(tree / "test", "--output", tmp_path / "found.csv", "--top", 1)
    table = list(csv.DictReader((tmp_path / "found.csv").read_text().splitlines()))
    assert len(table) == 10_000
    right = sum(Path(row["file"]).parent.name == row["class"] for row in table)
    assert right / 10_000 == pytest.approx(0.8741, abs=0.001)
