"""Image trees, as folders and zips: what of them becomes a data set, and how their images are read."""

import io
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pets import BLUE, RED, picture, remove, zipped
from PIL import Image
from published import CIFAR10, write_tree

from convmixer.data import image_names, trees
from convmixer.data.image_files import FORMATS, read_image
from convmixer.data.images import image_folder, labelled_images
from convmixer.data.splits import train_and_valid
from convmixer.errors import UserError


def test_a_folder_becomes_tensors(tree, load):
    pets = load(tree)
    assert (pets.name, pets.classes, pets.fallback) == ("pets", ("cat", "dog"), None)
    assert pets.train.images.dtype == torch.uint8 and pets.train.labels.dtype == torch.int64
    assert pets.train.images.shape == (3, 8, 8, 3)
    assert pets.train.labels.tolist() == [0, 0, 1]
    assert pets.train.images[:, 4, 4].tolist() == [[255, 0, 0], [255, 0, 0], [0, 0, 255]]
    assert pets.test.labels.tolist() == [0, 1]
    assert pets.mean == pytest.approx((2 / 3, 0, 1 / 3))


@pytest.mark.parametrize("top", ["", "pets-v2/", "./"])
def test_a_zip_gives_what_its_folder_gives(tree, load, tmp_path, top):
    archive = load(zipped(tree, tmp_path / "animals.zip", top))
    folder = load(tree)
    assert archive.name == "animals" and archive.classes == folder.classes
    assert torch.equal(archive.train.images, folder.train.images)
    assert torch.equal(archive.test.labels, folder.test.labels)


EXTENSIONS = ("png", "JPG", "jpeg", "jfif", "bmp", "webp", "gif", "tif", "TIFF", "ppm", "jp2", "avif", "tga")
KINDS = [(extension, mode) for extension in EXTENSIONS for mode in ("RGB", "L")]
KINDS += [(extension, mode) for extension in ("png", "gif", "TIFF") for mode in ("P", "RGBA")]


@pytest.mark.parametrize(("extension", "mode"), KINDS)
def test_every_kind_and_mode_becomes_rgb(tree, load, extension, mode):
    picture(tree / f"train/dog/2.{extension}", BLUE, mode=mode)
    expected = [29, 29, 29] if mode == "L" else [0, 0, 255]
    added = load(tree).train.images[3, 4, 4]
    assert (added.int() - torch.tensor(expected)).abs().max() <= 2  # JPEG is lossy


def test_hidden_and_foreign_files_are_passed_over(tree, load, tmp_path):
    (tree / "train/cat/.DS_Store").write_bytes(b"x")
    (tree / "train/cat/._1.png").write_bytes(b"not an image")
    (tree / "train/cat/notes.txt").write_text("soft")
    (tree / "train/.git").mkdir()
    (tree / "train/labels.csv").write_text("1")
    (tree / "extra/cat").mkdir(parents=True)
    assert len(load(tree).train.labels) == 3
    assert len(load(zipped(tree, tmp_path / "pets.zip")).train.labels) == 3


def test_every_ending_of_the_formats_that_are_read_is_an_image():
    Image.init()
    endings = {ending for ending, name in Image.EXTENSION.items() if name in FORMATS}
    assert endings - set(image_names.EXTENSIONS) <= {
        ".avifs",
        ".pfm",
        ".icb",
        ".vda",
        ".vst",
    }  # films, floats, of one program


def test_files_that_are_no_images_are_counted_aloud(tree, load, tmp_path, caplog):
    for name in ("a.heic", "b.HEIC", "notes", "Thumbs.db", ".hidden"):
        (tree / "train/cat" / name).write_bytes(b"x")
    said = "passed over 3 files without the ending of an image (.heic: 2, no ending: 1)"
    load(tree)
    assert f"{tree}: {said}" in caplog.text
    load(zipped(tree, tmp_path / "pets.zip"))  # which leaves out `notes`
    assert "pets.zip: passed over 2 files" in caplog.text
    caplog.clear()
    labelled_images(tree / "train", ["cat", "dog"], (8, 8, 3))
    assert said in caplog.text


def test_a_tree_further_down_is_pointed_at(tree, load):
    with pytest.raises(UserError, match=r"holds no train/: .*; .*/pets does$"):
        load(tree.parent)


@pytest.mark.parametrize("name", ["powershell5-backslashes", "top-folder-and-readme", "two-top-folders"])
def test_zips_as_people_make_them(cases, load, name):
    pets = load(cases / "zips" / f"{name}.zip")
    assert pets.classes == ("cat", "dog")
    assert pets.train.labels.tolist() == [0] * 4 + [1] * 4 and pets.test.labels.tolist() == [0, 0, 1, 1]
    split = labelled_images(cases / "zips" / f"{name}.zip", pets.classes, pets.train.images.shape[1:])
    assert torch.equal(split.images, pets.test.images) and torch.equal(split.labels, pets.test.labels)


@pytest.mark.parametrize("top", ["train/", "test/", "a/train/"])
def test_a_zip_whose_top_folder_is_called_as_a_split(tree, load, tmp_path, top):
    assert load(zipped(tree, tmp_path / "pets.zip", top)).train.labels.tolist() == [0, 0, 1]


def test_a_zip_of_several_trees_is_refused(tree, load, tmp_path):
    path = zipped(tree, tmp_path / "pets.zip", "old/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tree / "train/cat/1.png", "new/train/cat/1.png")
    with pytest.raises(UserError, match=r"holds several trees, in new/ and old/: expected one"):
        load(path)


COMPOSED, APART = "caf\u00e9", "cafe\u0301"  # how others and how Macs write it


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_names_of_a_mac_are_the_same_names(tree, load, tmp_path, form):
    (tree / "train/cat").rename(tree / "train" / COMPOSED)
    (tree / "test/cat").rename(tree / "test" / APART)
    if len({COMPOSED, APART} & {entry.name for split in ("train", "test") for entry in (tree / split).iterdir()}) < 2:
        pytest.skip("this file system does that itself")
    path = tree if form == "folder" else zipped(tree, tmp_path / "pets.zip")
    pets = load(path)
    assert pets.classes == (COMPOSED, "dog")
    for classes in ((COMPOSED, "dog"), (APART, "dog")):
        assert labelled_images(path, classes, (8, 8, 3)).labels.tolist() == [0, 1]


def test_two_classes_that_look_the_same_are_refused(tree, load):
    (tree / "train/cat").rename(tree / "train" / COMPOSED)
    picture(tree / "train" / APART / "1.png")
    if len(list((tree / "train").iterdir())) == 2:
        pytest.skip("this file system takes them for one")
    with pytest.raises(UserError, match="there is another class of this name, spelt in other bytes"):
        load(tree)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_class_may_be_called_test_or_train(tree, load, tmp_path, form):
    for split in ("train", "test"):
        (tree / split / "cat").rename(tree / split / "test")
        (tree / split / "dog").rename(tree / split / "train")
    path = tree if form == "folder" else zipped(tree, tmp_path / "pets.zip")
    assert load(path).classes == ("test", "train")
    assert labelled_images(path, ["test", "train"], (8, 8, 3)).labels.tolist() == [0, 1]
    flat = tree / "train" if form == "folder" else zipped(tree / "train", tmp_path / "flat.zip")
    assert labelled_images(flat, ["test", "train"], (8, 8, 3)).labels.tolist() == [0, 0, 1]


def test_resizing_smooths_and_keeps_the_middle(tree, load):
    """A 64x32 picture, left and right quarters blue, its middle a black-and-white board of single pixels."""
    board = (np.indices((32, 64)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = np.stack([board] * 3, -1)
    pixels[:, :16] = pixels[:, 48:] = BLUE
    Image.fromarray(pixels).save(tree / "train/dog/wide.png")
    shrunk = load(tree, image_size=8).train.images[3]
    assert shrunk.shape == (8, 8, 3)
    assert (shrunk[2:6, 2:6].int() - 127).abs().max() < 12  # grey: neither pixels picked out, nor blue


def test_photographs_are_turned_upright():
    photo, tag = Image.new("RGB", (6, 4)), Image.Exif()
    tag[0x0112] = 6  # the camera was held on its side
    file = io.BytesIO()
    photo.save(file, "jpeg", exif=tag)
    assert read_image(file.getvalue(), None).shape == (6, 4, 3)


@pytest.mark.parametrize(("sides", "chosen"), [((8, 9), 32), ((30, 40), 32), ((50, 60), 48), ((300, 400), 64)])
def test_images_of_several_sizes_are_brought_to_one(tree, load, caplog, sides, chosen):
    """The multiple of 16 that is nearest to the median of their short sides, and neither small nor large."""
    caplog.set_level(logging.INFO, "convmixer")
    for i, (split, name) in enumerate((s, n) for s in ("train", "test") for n in ("cat", "dog")):
        for file in (tree / split / name).iterdir():
            picture(file, size=(2 * sides[i % 2], sides[i % 2]))
    pets = load(tree)
    assert pets.train.images.shape == (3, chosen, chosen, 3)
    said = f"all are brought to {chosen}x{chosen} (data.image_size={chosen})"
    assert pets.note.endswith(said) and said in caplog.text
    caplog.clear()
    assert load(tree).note == pets.note and said in caplog.text and "decoding" not in caplog.text
    assert load(tree, image_size=8).test.images.shape == (2, 8, 8, 3)


def test_real_images_out_of_a_zip(cifar10_files, tmp_path, load):
    """The first 20 images of each class and split of CIFAR-10, as a zip."""
    tree = write_tree(cifar10_files, tmp_path / "some", train=20, test=20)
    cifar = load(zipped(tree, tmp_path / "some.zip"))
    assert cifar.classes == CIFAR10.classes
    assert cifar.train.images.shape == cifar.test.images.shape == (200, 32, 32, 3)
    test = np.fromfile(cifar10_files / "test_batch.bin", np.uint8).reshape(-1, 3073)
    cats = test[test[:, 0] == 3][:20, 1:].reshape(20, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(cifar.test.images[60:80].numpy(), cats)


def test_a_tree_without_test_gives_a_share_of_each_class(tree, load, caplog):
    """The same images for every seed: a run may begin from the weights of a run with another seed."""
    caplog.set_level(logging.INFO, "convmixer")
    remove(tree / "test")
    for i in range(20):
        picture(tree / f"train/cat/{i}.png", (i, 0, 0))
        picture(tree / f"train/dog/{i}.png", (0, i, 0))
    pets = load(tree)
    assert len(pets.test.labels) == 4 and pets.test.labels.tolist() == [0, 0, 1, 1]
    assert f"{tree} holds no test/: 4 of its 40 images are kept for the test (data.test=0.1)" in caplog.text
    assert not pets.has_own_test
    colours = {tuple(image[0, 0].tolist()) for split in (pets.train, pets.test) for image in split.images}
    assert len(colours) == 39  # every image is in one of them; (0, 0, 0) is in both classes
    assert len(load_with_share(tree, 0.5).test.labels) == 20


def load_with_share(path: Path, share: float):
    return image_folder(path, None, path.parent / "cache", share)


@pytest.mark.parametrize("top", ["", "pets-v2/"])
@pytest.mark.parametrize("names", [("cat", "dog"), ("train", "test"), ("valid", "invalid")])
def test_classes_alone_are_a_tree(tree, load, tmp_path, names, top):
    flat = tmp_path / "flat"
    for name, colour in zip(names, (RED, BLUE), strict=True):
        for i in range(4):
            picture(flat / name / f"{i}.png", colour)
    folder, archive = load(flat), load(zipped(flat, tmp_path / "flat.zip", top))
    assert trees.is_tree(flat) and not trees.is_tree(tmp_path)
    assert folder.classes == archive.classes == tuple(sorted(names))
    assert len(folder.train.labels) == 6 and len(folder.test.labels) == 2
    assert torch.equal(folder.train.images, archive.train.images)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_validation_images_of_its_own(tree, load, tmp_path, name, form):
    picture(tree / name / "cat/1.png", "green")
    picture(tree / name / "dog/1.png", "green")
    path = tree if form == "folder" else zipped(tree, tmp_path / "pets.zip")
    pets, again = load(path), load(path)  # from the cache
    assert pets.valid.images[:, 0, 0].tolist() == again.valid.images[:, 0, 0].tolist() == [[0, 128, 0]] * 2
    assert train_and_valid(pets, None, 0) == (pets.train, pets.valid)
    train, valid = train_and_valid(pets, 1, 0)
    assert (len(train.labels), len(valid.labels)) == (2, 1) and valid.images[0, 0, 0].tolist() == [255, 0, 0]
