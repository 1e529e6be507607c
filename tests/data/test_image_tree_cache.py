"""The cache of an image tree: used again while the tree is the same, and made again where it has changed."""

import logging
import os
import time
from pathlib import Path

import pytest
import torch
from pets import RED, picture, zipped
from PIL import Image
from published import write_tree


def test_the_second_start_decodes_nothing(tree, load, caplog):
    caplog.set_level(logging.INFO, "convmixer")
    first = load(tree)
    assert [r.message for r in caplog.records] == [
        f"decoding the 5 images of {tree}: only this once, unless they change"
    ]
    caplog.clear()
    second = load(tree)
    assert not caplog.records
    assert torch.equal(first.train.images, second.train.images) and first.std == second.std
    assert (first.name, first.classes) == (second.name, second.classes)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_changed_tree_is_decoded_again_and_its_old_cache_removed(tree, load, tmp_path, form):
    path = tree if form == "folder" else zipped(tree, tmp_path / "pets.zip")
    load(path)
    picture(tree / "train/dog/1.png", RED)
    os.utime(tree / "train/dog/1.png", ns=(10**18, 10**18))  # same size; also on a coarse clock another time
    if form == "zip":
        zipped(tree, path)
    assert load(path).train.images[2, 0, 0].tolist() == [255, 0, 0]
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1


def same_size_and_time(tree: Path) -> None:
    """As files out of a zip have them: uncompressed bitmaps, times of two seconds' accuracy."""
    for file in sorted(tree.rglob("*.png")):
        Image.open(file).save(file.with_suffix(".bmp"))
        file.unlink()
        os.utime(file.with_suffix(".bmp"), (10**9, 10**9))


@pytest.mark.parametrize("what", ["folders", "files"])
def test_corrected_labels_are_seen(tree, load, what):
    same_size_and_time(tree)
    load(tree)
    one, other = (tree / "train" / name / ("" if what == "folders" else "1.bmp") for name in ("cat", "dog"))
    one.rename(tree / "aside")
    other.rename(one)
    (tree / "aside").rename(other)
    colours = [image[0, 0].tolist() for image in load(tree).train.images]
    assert colours == [[0, 0, 255], [255, 0, 0], [255, 0, 0]]


def test_another_tree_of_the_same_names_sizes_and_times_is_another(tree, load, tmp_path):
    same_size_and_time(tree)
    load(tree)
    other = tmp_path / "elsewhere" / tree.name
    for file in sorted(tree.rglob("*.bmp")):
        copy = other / file.relative_to(tree)
        picture(copy, "green")
        os.utime(copy, (10**9, 10**9))
    assert load(other).train.images[0, 0, 0].tolist() == [0, 128, 0]


def test_a_file_that_is_written_anew_with_its_old_time_is_decoded_again(tree, load):
    same_size_and_time(tree)
    load(tree)
    file = tree / "train/dog/1.bmp"
    time.sleep(0.05)  # the change time's clock ticks every few milliseconds
    picture(file, "green")
    os.utime(file, (10**9, 10**9))
    assert load(tree).train.images[2, 0, 0].tolist() == [0, 128, 0]


def test_each_image_size_has_its_own_cache(tree, load, tmp_path):
    sizes = (8, 4, 8)
    assert [load(tree, size).train.images.shape[1] for size in sizes] == [8, 4, 8]
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_the_second_start_of_60_000_images_takes_under_two_seconds(cifar10_files, tmp_path, load, form):
    path = write_tree(cifar10_files, tmp_path / "cifar", train=5000, test=1000)
    if form == "zip":
        path = zipped(path, tmp_path / "cifar.zip")
    first = load(path)
    start = time.process_time()  # a second start only reads: on a busy machine, others take the rest of the time
    second = load(path)
    assert time.process_time() - start < 2
    assert second.train.images.shape == (50_000, 32, 32, 3) and second.test.images.shape == (10_000, 32, 32, 3)
    assert torch.equal(first.train.images, second.train.images)
    assert second.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)
