"""Parquet files and WebDataset shards as sources of images: the same data set as their tree, and what is refused."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from convmixer.data.images import image_folder, labelled_images
from convmixer.data.sources import is_source
from convmixer.data.splits import Dataset
from convmixer.errors import UserError

CLASSES = ("cat", "dog", "emu")
SIZES = {"train": 12, "test": 6}  # images
Rows = list[tuple[bytes, int]]


def picture(number: int) -> bytes:
    """A PNG of one colour, another for each number."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 10, 255 - number * 10, 7)).save(file, "png")
    return file.getvalue()


@pytest.fixture
def rows() -> dict[str, Rows]:
    """The images of each split with their labels, in mixed order."""
    return {s: [(picture(i + 12 * (s == "test")), (i * 2) % 3) for i in range(n)] for s, n in SIZES.items()}


def features(names: tuple[str, ...] = CLASSES, column: str = "label") -> dict[bytes, bytes]:
    """What Hugging Face's `datasets` writes into a schema's metadata."""
    described = {"image": {"_type": "Image"}, column: {"names": list(names), "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": described}}).encode()}


def write_parquet(file: Path, rows: Rows, metadata: dict[bytes, bytes] | None, **columns: list) -> None:
    image = [{"bytes": content, "path": None} for content, _ in rows]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {"image": pa.array(image, kind), "label": pa.array([label for _, label in rows]), **columns}
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), file, row_group_size=5)


def write_tar(file: Path, members: dict[str, bytes], mode: str = "w") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def samples(rows: Rows, label: Callable[[int], bytes] = lambda n: str(n).encode(), ending: str = "cls") -> dict:
    named = [(f"{i:04}.png", content, f"{i:04}.{ending}", label(n)) for i, (content, n) in enumerate(rows)]
    return {name: content for a, b, c, d in named for name, content in ((a, b), (c, d))}


def load(path: Path, size: int | None = None) -> Dataset:
    return image_folder(path, size, path.parent / "cache")


def as_tree(root: Path, rows: dict[str, Rows]) -> Path:
    for split, images in rows.items():
        for i, (content, label) in enumerate(images):
            file = root / split / CLASSES[label] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return root


def of_dataset(dataset: Dataset) -> list[set[tuple[int, bytes]]]:
    """Its images with their labels, of each split, in any order."""
    return [
        {(label, image.numpy().tobytes()) for label, image in zip(s.labels.tolist(), s.images, strict=True)}
        for s in (dataset.train, dataset.test)
    ]


def hugging_face(root: Path, rows: dict[str, Rows]) -> Path:
    (root / "README.md").parent.mkdir()
    (root / "README.md").write_text("---\n---\n")
    for split, images in rows.items():
        for part in (0, 1):
            write_parquet(root / f"data/{split}-0000{part}-of-00002.parquet", images[part::2], features())
    return root


def shards(root: Path, rows: dict[str, Rows]) -> Path:
    for split, images in rows.items():
        for part in (0, 1):
            write_tar(root / f"mine-{split}-00{part}.tar", samples(images[part::2]))
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root


@pytest.mark.parametrize("kind", [hugging_face, shards])
def test_files_of_records_are_the_data_set_that_their_tree_is(rows, tmp_path: Path, kind: Callable) -> None:
    tree, folder = load(as_tree(tmp_path / "tree", rows)), kind(tmp_path / "pets", rows)
    assert is_source(folder)
    pets = load(folder)
    assert (pets.name, pets.classes, pets.mean) == ("pets", tree.classes, pytest.approx(tree.mean))
    assert of_dataset(pets) == of_dataset(tree)
    assert of_dataset(load(folder)) == of_dataset(tree)  # from the cache
    split = labelled_images(folder, CLASSES, (8, 8, 3))
    assert torch.equal(split.images, pets.test.images) and torch.equal(split.labels, pets.test.labels)


def test_a_file_or_a_pattern_of_files(rows, tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "pets", rows)
    assert of_dataset(load(folder / "data" / "*.parquet")) == of_dataset(load(folder))
    alone = load(folder / "data" / "train-00000-of-00002.parquet")
    assert len(alone.train.labels) + len(alone.test.labels) == 6 and not alone.has_own_test
    assert not is_source(tmp_path / "none.parquet") and not is_source(tmp_path / "*.tar")


def test_labels_as_people_have_them(rows, tmp_path: Path) -> None:
    """Text, numbers without names, several columns; in shards names, JSON, numbers without names."""
    some = rows["train"]
    text, numbers = pa.array([CLASSES[label] for _, label in some]), [label for _, label in some]
    write_parquet(tmp_path / "text.parquet", some, None, label=text)
    write_parquet(tmp_path / "fine.parquet", some, features(column="fine_label"), fine_label=numbers, id=text)
    write_parquet(tmp_path / "numbers.parquet", some, None)
    write_tar(tmp_path / "names.tar", samples(some, lambda n: CLASSES[n].encode()))
    content = [json.dumps({"label": n, "class_name": name}).encode() for n, name in enumerate(CLASSES)]
    write_tar(tmp_path / "json.tar", samples(some, content.__getitem__, "json"))
    write_tar(tmp_path / "digits.tar", samples(some))
    named = {"text.parquet", "fine.parquet", "names.tar", "json.tar"}
    for file in (*named, "numbers.parquet", "digits.tar"):
        assert load(tmp_path / file).classes == (CLASSES if file in named else ("0", "1", "2")), file


def test_a_changed_file_is_decoded_again(rows, tmp_path: Path) -> None:
    write_parquet(tmp_path / "pets.parquet", rows["train"], features())
    before = of_dataset(load(tmp_path / "pets.parquet"))
    write_parquet(tmp_path / "pets.parquet", [(picture(20), n) for _, n in rows["train"]], features())
    assert of_dataset(load(tmp_path / "pets.parquet")) != before


def test_changed_names_of_classes_are_seen(rows, tmp_path: Path) -> None:
    folder = shards(tmp_path / "pets", rows)
    load(folder)
    (folder / "classes.txt").write_text("ant\r\nbee\r\ncow\r\n")
    assert load(folder).classes == ("ant", "bee", "cow")


def test_the_second_start_reads_the_cache_alone(rows, tmp_path: Path, monkeypatch) -> None:
    folder = shards(tmp_path / "pets", rows)
    first = load(folder)
    monkeypatch.setattr("convmixer.data.webdataset.TarShards._read_shard", None)
    assert of_dataset(load(folder)) == of_dataset(first)


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def parquet_faults(file: Path, rows: Rows) -> dict[str, tuple[Callable[[], object], str]]:
    """By name: writes a file, and what is said of it."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    paths = pa.array([{"bytes": None, "path": "/etc/passwd"}] * 12, kind)
    no_images, no_labels = pa.table({"x": ["a"], "label": [1]}), pa.table({"image": [b"x"], "y": [0.5]})
    two, odd = features(("cat", "dog")), features(("\x1b[31m" * 99, "b", "c"))
    broken = [*rows[:11], (b"x", 1)]
    return {
        "no parquet": (lambda: file.write_text("hello"), "can't be read as Parquet"),
        "empty": (lambda: file.write_text(""), "can't be read as Parquet"),
        "cut": (lambda: (write_parquet(file, rows, None), cut(file, 900)), "can't be read as Parquet"),
        "no images": (
            lambda: pq.write_table(no_images, file),
            r"no column of images among x \(string\), label \(int64\)",
        ),
        "no labels": (lambda: pq.write_table(no_labels, file), "no column of labels among"),
        "a path": (lambda: write_parquet(file, rows, features(), image=paths), "paths of images elsewhere are not"),
        "unknown label": (lambda: write_parquet(file, rows, two), "row 1 has the label 2, which names no"),
        "unlabelled": (lambda: write_parquet(file, [(rows[0][0], -1)], None), "row 0 has the label -1"),
        "broken image": (lambda: write_parquet(file, broken, features()), "pets.parquet, row 11 is not an image"),
        "escape": (lambda: write_parquet(file, rows, odd), "its class is"),
    }


@pytest.mark.parametrize("fault", parquet_faults(Path(), [(b"", 0)]))
def test_a_parquet_file_that_is_wrong_is_said_in_one_line(rows, tmp_path: Path, fault: str) -> None:
    spoil, message = parquet_faults(tmp_path / "pets.parquet", rows["train"])[fault]
    spoil()
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "pets.parquet")
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def tar_faults(file: Path, rows: Rows) -> dict[str, tuple[Callable[[], object], str]]:
    whole = samples(rows)
    return {
        "no tar": (lambda: file.write_text("hello" * 200), "is not a sound .tar"),
        "compressed": (lambda: write_tar(file, whole, "w:gz"), "is not a sound .tar, or a compressed one"),
        "cut": (lambda: (write_tar(file, whole), cut(file, 9000)), "cut off|is not a sound .tar"),
        "damaged within": (lambda: (write_tar(file, whole), overwrite(file, 4096 + 100)), "cut off, or damaged in its"),
        "no label": (lambda: write_tar(file, {**whole, "x.png": b"1"}), r"1 of 13 images have no .cls.*'/x'"),
        "wrong label": (lambda: write_tar(file, {**whole, "0000.cls": b"\xff"}), "0000.cls: can't be read"),
        "wrong JSON": (lambda: write_tar(file, samples(rows, lambda n: b"{", "json")), "0000.json: can't be read"),
        "no label in JSON": (lambda: write_tar(file, samples(rows, lambda n: b"{}", "json")), "holds no label"),
        "huge": (lambda: huge(file), "refused above"),
        "broken image": (lambda: write_tar(file, {**whole, "0003.png": b"x"}), "pets.tar, 0003 is not an image"),
        "twice": (lambda: write_tar(file, {**whole, "0003.jpg": b"x"}), "two images are called '/0003'"),
        "too few names": (
            lambda: (write_tar(file, whole), (file.parent / "classes.txt").write_text("cat")),
            "has the label 2, but there are 1 names",
        ),
    }  # fmt: skip


def overwrite(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    start = at // 512 * 512
    content[start : start + 512] = bytes([65]) * 512
    file.write_bytes(content)


def huge(file: Path) -> None:
    """A header alone that claims 100 MiB; the file is sparse."""
    member = tarfile.TarInfo("0.png")
    member.size = 100 * 2**20
    file.write_bytes(member.tobuf())
    os.truncate(file, member.size + 2048)


@pytest.mark.parametrize("fault", tar_faults(Path(), [(b"", 0)]))
def test_a_shard_that_is_wrong_is_said_in_one_line(rows, tmp_path: Path, fault: str) -> None:
    spoil, message = tar_faults(tmp_path / "pets.tar", rows["train"])[fault]
    spoil()
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "pets.tar")
    assert "\n" not in str(error.value)


def test_nothing_outside_of_the_folder_is_read(rows, tmp_path: Path) -> None:
    write_parquet(tmp_path / "elsewhere" / "a.parquet", rows["train"], features())
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "a.parquet").symlink_to(tmp_path / "elsewhere" / "a.parquet")
    with pytest.raises(UserError, match=r"is a link out of .*: not followed; name it yourself"):
        load(tmp_path / "pets")
    assert load(tmp_path / "pets" / "*.parquet").classes == CLASSES  # as in Hugging Face's cache
    walks_out = {"../../outside.png": picture(1), "../../outside.cls": b"1", **samples(rows["train"])}
    write_tar(tmp_path / "odd.tar", {**walks_out, "/abs.png": picture(2), "/abs.cls": b"2"})
    before = set(tmp_path.parent.iterdir())
    load(tmp_path / "odd.tar", 8)
    assert set(tmp_path.parent.iterdir()) == before and not Path("/abs.png").exists()


def test_every_cut_of_a_shard_is_said(rows, tmp_path: Path) -> None:
    file = tmp_path / "pets.tar"
    write_tar(file, samples(rows["train"]))
    content = file.read_bytes()
    used = content.rstrip(b"\0")
    for length in np.linspace(0, len(used) - 1, 25).astype(int).tolist():
        file.write_bytes(content[:length])
        if length % 512 == 0 and length % 1024 == 0 and length:
            continue  # may end between two members, which a tar without an end may
        with pytest.raises(UserError) as error:
            load(file)
        assert "\n" not in str(error.value)


def test_without_pyarrow_the_remedy_is_named(rows, tmp_path: Path, monkeypatch) -> None:
    write_parquet(tmp_path / "pets.parquet", rows["train"], features())
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"needs the package pyarrow: pip install '\.\[parquet\]'"):
        load(tmp_path / "pets.parquet")
