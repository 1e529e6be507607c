"""`import` brings in other people's weights and runs none of their code; whatever is wrong with a file is one line."""

import io
import os
import pickle
import re
import shutil
import zipfile
from argparse import Namespace
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import PEERS, as_if_trained, assert_same_logits
from safetensors.torch import save_file

from convmixer import UserError, load
from convmixer.cli import main
from convmixer.trained.weight_files import read_tensors

SIZES = {"d_model": 8, "n_layers": 2, "kernel_size": 3, "patch_size": 2, "n_classes": 3, "in_channels": 3}
FACTS = ("--classes", "cat,dog,ship", "--image-size", "8", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25")


def a_network(layout: str = "timm") -> torch.nn.Module:
    return as_if_trained(PEERS[layout](**SIZES, activation="GELU"))


@pytest.fixture
def theirs(here: Path) -> torch.nn.Module:
    """A network of timm's whose weights are in theirs.pt."""
    network = a_network()
    torch.save(network.state_dict(), "theirs.pt")
    return network


@pytest.mark.parametrize("layout", PEERS)
@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".pth", ".bin"])
def test_weights_of_every_layout_and_kind_of_file(here, call, layout, ending):
    network = a_network(layout)
    save = save_file if ending == ".safetensors" else torch.save
    save(network.state_dict(), f"theirs{ending}")
    said = call("import", f"theirs{ending}", "--output", "ours.safetensors", *FACTS).out
    assert f"in the layout {layout}: d_model=8 n_layers=2 kernel_size=3 patch_size=2 n_classes=3" in said
    trained = load("ours.safetensors")
    assert trained.classes == ("cat", "dog", "ship") and trained.image_shape == (8, 8, 3)
    assert trained.mean == (0.5,) * 3 and trained.std == (0.25,) * 3
    assert_same_logits(trained.model, network, 4, 3, 8, 8)
    card = Path("ours.md").read_text()
    assert f"| imported from | theirs{ending}, in the layout {layout} |" in card and "not measured here" in card


def averaged(weights: dict) -> dict:
    """As torch's `AveragedModel` has it."""
    return {"n_averaged": torch.tensor(5), **{f"module.{name}": tensor for name, tensor in weights.items()}}


def before(prefix: str) -> Callable[[dict], dict]:
    return lambda weights: {f"{prefix}{name}": tensor for name, tensor in weights.items()}


WRAPPED = {
    "state_dict": lambda w: {"state_dict": w, "epoch": 3},
    "model": lambda w: {"model": w, "arch": "convmixer_768_32"},
    "net": lambda w: {"net": before("module.")(w), "acc": np.float64(93.5), "epoch": 3},
    "another name": lambda w: {"student": w, "epoch": 3},
    "within another": lambda w: {"state": {"epoch": 3, "weights": w}},
    "DataParallel": before("module."),
    "compiled": before("_orig_mod."),
    "compiled DDP": before("_orig_mod.module."),
    "compiled in DDP": before("module._orig_mod."),
    "Lightning": lambda w: {"state_dict": before("model.")(w), "hyper_parameters": {"lr": 0.1}, "callbacks": {}},
    "averaged": averaged,
    "averaged beside": lambda w: {"epoch": 3, "state_dict_ema": w},
    "plain before averaged": lambda w: {"state_dict_ema": {n: t * 0 for n, t in w.items()}, "state_dict": w},
    "arguments": lambda w: {
        "state_dict": w,
        "args": Namespace(lr=0.1, output=Path("out")),
        "when": datetime(2024, 1, 1),
    },
    "half": lambda w: {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in w.items()},
}


@pytest.mark.parametrize("how", WRAPPED)
@pytest.mark.parametrize("layout", ["timm", "authors"])
def test_what_training_scripts_make_of_a_state_dict(here, call, how, layout):
    theirs = a_network(layout).half().float()
    torch.save(WRAPPED[how](theirs.state_dict()), "theirs.pt")
    call("import", "theirs.pt", "--output", "ours.safetensors", *FACTS)
    assert_same_logits(load("ours.safetensors").model, theirs, 4, 3, 8, 8)


def test_as_torch_saved_before_1_6(theirs, call):
    content = {"state_dict": theirs.state_dict(), "args": Namespace(lr=0.1)}
    torch.save(content, "theirs.pt", _use_new_zipfile_serialization=False)
    call("import", "theirs.pt", "--output", "ours.safetensors", *FACTS)
    assert_same_logits(load("ours.safetensors").model, theirs, 4, 3, 8, 8)


@pytest.mark.parametrize("name", ["convmixer_1536_20.pth.tar", "last.ckpt", "weights", "model.pkl", "model.sft"])
def test_the_name_of_a_file_says_nothing(theirs, call, name):
    save = save_file if name == "model.sft" else torch.save
    save(theirs.state_dict(), name)
    call("import", name, "--output", "ours.safetensors", *FACTS)


def test_files_as_they_are_published(cases, here, call):
    for file in sorted((cases / "import").iterdir()):
        said = call("import", file, "--output", "ours.safetensors", "--trained-on", "cifar10", "--force").out
        assert f"from {file.name}, in the layout timm: d_model=4 n_layers=1" in said
        assert load("ours.safetensors").classes[3] == "cat"


FOUR = ("--image-size", "32", "--mean", ".5,.5,.5", "--std", ".2,.2,.2", "--output", "four.safetensors", "--force")


@pytest.mark.parametrize("name", ["bom.txt", "blank-last-line.txt", "nbsp.txt"])
def test_lists_of_classes_as_editors_leave_them(cases, here, call, name):
    call("import", cases / "classes" / "four.pth", "--classes", cases / "classes" / name, *FOUR)
    assert load("four.safetensors").classes == ("a\u00a0x" if name == "nbsp.txt" else "a", "b", "c", "d")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lists_of_classes_of_windows(cases, here, call, refusal, encoding):
    Path("names.txt").write_bytes("a\r\né\r\nc\r\nd\r\n\r\n".encode(encoding))
    call("import", cases / "classes" / "four.pth", "--classes", "names.txt", *FOUR)
    assert load("four.safetensors").classes == ("a", "é", "c", "d")
    Path("names.txt").write_bytes("é\n".encode("latin-1") * 4)
    assert "can't be read" in refusal(["import", str(cases / "classes" / "four.pth"), "--classes", "names.txt", *FOUR])


def test_a_name_that_two_classes_have_is_refused(cases, here, refusal):
    shutil.copy(cases / "classes" / "classes.txt", here)
    said = refusal(["import", str(cases / "classes" / "four.pth"), "--classes", "classes.txt", *FOUR])
    assert "'crane' is the name of the labels 0 and 2: give each its own" in said


@pytest.mark.parametrize("names", ["a,b,,d", "a\n\nc\nd\n", "a,b,c,d\x1b[1m"])
def test_names_that_are_none_are_refused(theirs, here, refusal, names):
    if "\n" in names:
        Path("names.txt").write_text(names)
        names = "names.txt"
    assert re.search(r"a name is empty|can't be shown", refusal(["import", "theirs.pt", "--classes", names, *FOUR]))


def test_what_was_imported_can_be_used_everywhere(theirs, call, tiny, here):
    Path("names.txt").write_text("blue\ngreen\nred\n")
    facts = ("--classes", "names.txt", "--image-size", 16, *FACTS[4:])
    call("import", "theirs.pt", "--output", "ours.safetensors", *facts)
    assert "accuracy" in call("evaluate", "ours.safetensors", "--data", tiny).out
    image = next((tiny / "test" / "red").iterdir())
    assert "red" in call("predict", "ours.safetensors", image, "--format", "csv").out
    call("export", "ours.safetensors", "--output", "back.pt", "--format", "timm")
    torch.testing.assert_close(torch.load("back.pt"), dict(theirs.state_dict()), rtol=0, atol=0)
    assert "that of the imported file" in Path("back.pt.md").read_text()


def test_the_usual_data_sets_stand_for_their_facts(here, call):
    sizes = SIZES | {"n_classes": 1000, "patch_size": 7}
    torch.save(PEERS["timm"](**sizes, activation="ReLU").state_dict(), "theirs.pt")
    call("import", "theirs.pt", "--output", "x.safetensors", "--trained-on", "imagenet", "--activation", "ReLU")
    trained = load("x.safetensors")
    assert trained.classes[0] == "tench" and trained.image_shape == (224, 224, 3) and trained.mean[0] == 0.485
    assert isinstance(trained.model.patch_emb.act, torch.nn.ReLU)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"--classes": None}, "--classes: needed, as weight files do not hold it"),
        ({"--mean": None, "--std": None}, "--mean, --std: needed, as weight files do not hold it"),
        ({"--classes": "cat,dog"}, "2 names, but the head in the file has 3 outputs"),
        ({"--classes": "cat,,dog"}, "a name is empty"),
        ({"--image-size": "7"}, "the patch_size 2 of the file does not divide it"),
        ({"--image-size": "0"}, "0 is not in the range"),
        ({"--mean": "0.5"}, "expected 3 numbers from 0 up to 1"),
        ({"--mean": "125,122,113"}, "expected 3 numbers from 0 up to 1"),
        ({"--std": "0.2,0.2,0"}, "expected 3 numbers above 0 up to 1"),
        ({"--std": "0.2,nan,0.2"}, "expected 3 numbers above 0 up to 1"),
        ({"--std": "a,b,c"}, "expected 3 numbers above 0 up to 1"),
        ({"--activation": "Tanh"}, "is not one of 'GELU', 'ReLU', 'SiLU'"),
        ({"--format": "labml"}, "lacks patch_emb.conv.weight"),
        ({"--output": "ours.pt"}, "ends in .safetensors"),
        ({"--output": "none/ours.safetensors"}, "can't be written"),
    ],
)
def test_wrong_requests_are_one_line_and_leave_nothing(theirs, here, refusal, changed, expected):
    options = dict(zip(FACTS[::2], FACTS[1::2], strict=True)) | {"--output": "ours.safetensors"} | changed
    arguments = [word for option in options.items() if option[1] is not None for word in option]
    assert expected in refusal(["import", "theirs.pt", *arguments])
    assert [path.name for path in here.iterdir()] == ["theirs.pt"]


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


HOSTILE = {
    "a pickle of code": lambda touched: pickle.dumps(Touch(touched)),
    "code in a checkpoint": lambda touched: pickled({"stem.0.weight": Touch(touched)}),
    "code beside weights": lambda touched: pickled({"state_dict": a_network().state_dict(), "args": Touch(touched)}),
    "a whole module": lambda touched: pickled(a_network()),
    "an old checkpoint's code": lambda touched: pickle.dumps(Touch(touched), protocol=2),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_code_in_a_file_is_not_run(here, refusal, what):
    Path("theirs.pt").write_bytes(HOSTILE[what](here / "touched"))
    line = refusal(["import", "theirs.pt", "--output", "ours.safetensors", *FACTS])
    assert "code is not read" in line
    assert [path.name for path in here.iterdir()] == ["theirs.pt"]


WRONG_CONTENT = {
    "a list": [torch.zeros(3)],
    "a tensor": torch.zeros(3),
    "numbers for names": {1: torch.zeros(3)},
    "a number for a tensor": {"stem.0.weight": 3},
    "one number posing as many": {"stem.0.weight": torch.zeros(1).expand(10**12)},
    "a sparse tensor": {"stem.0.weight": torch.eye(3).to_sparse()},
    "a tensor without data": {"stem.0.weight": torch.zeros(3, device="meta")},
    "complex numbers": {"stem.0.weight": torch.zeros(3, dtype=torch.complex64)},
    "NaN": {"stem.0.weight": torch.full((3,), torch.nan)},
    "integers": {"stem.0.weight": torch.zeros((8, 3, 2, 2), dtype=torch.int64)},
    "nothing": {},
}


@pytest.mark.parametrize("what", WRONG_CONTENT)
def test_other_things_than_weights_are_one_line(here, refusal, what):
    torch.save(WRONG_CONTENT[what], "theirs.pt")
    assert "theirs.pt" in refusal(["import", "theirs.pt", "--output", "ours.safetensors", *FACTS])
    assert [path.name for path in here.iterdir()] == ["theirs.pt"]


def test_weights_of_the_wrong_type_are_one_line(theirs, refusal):
    torch.save({name: tensor.long() for name, tensor in theirs.state_dict().items()}, "theirs.pt")
    assert "is of int64" in refusal(["import", "theirs.pt", "--output", "ours.safetensors", *FACTS])


@pytest.mark.parametrize("name", ["none.pt", "none.safetensors", "folder.pt", "theirs.zip", "theirs"])
def test_a_file_that_can_not_be_read_is_one_line(here, refusal, name):
    (here / "folder.pt").mkdir()
    assert name in refusal(["import", name, "--output", "ours.safetensors", *FACTS])


damage = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
    st.tuples(st.just("fill"), st.floats(0, 1, exclude_max=True), st.integers(1, 64)),
)


def damaged(content: bytes, kind: str, place: float, amount: int) -> bytes:
    at = int(place * len(content))
    if kind == "cut":
        return content[:at]
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ 1 << amount]) + content[at + 1 :]
    return content[:at] + b"\xff" * amount + content[at + amount :]


@settings(max_examples=150)
@given(how=damage, ending=st.sampled_from([".pt", ".safetensors"]))
def test_a_damaged_file_is_refused_or_still_holds_finite_numbers(tmp_path_factory, how, ending):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    whole, broken = folder / f"whole{ending}", folder / f"broken{ending}"
    if not whole.exists():
        save = save_file if ending == ".safetensors" else torch.save
        save(a_network().state_dict(), whole)
    broken.write_bytes(damaged(whole.read_bytes(), *how))
    try:
        weights = read_tensors(broken)
    except UserError as error:
        assert str(error).startswith(str(broken)) and "\n" not in str(error)
    else:
        assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """A file of ours."""
    output = tmp_path_factory.mktemp("ours") / "ours.safetensors"
    with pytest.raises(SystemExit):
        main(arguments=["export", str(PROJECT / "weights" / "small-cifar10.safetensors"), "--output", str(output)])
    return output


@settings(max_examples=150)
@given(how=damage)
def test_damage_to_the_tensors_of_a_file_of_ours_is_seen(ours, how):
    whole, broken = ours.read_bytes(), ours.with_name("broken.safetensors")
    start = 8 + int.from_bytes(whole[:8], "little")  # of the tensors
    content = whole[:start] + damaged(whole[start:], *how)
    broken.write_bytes(content)
    if content == whole:
        load(broken)
        return
    with pytest.raises(UserError) as error:
        load(broken)
    assert str(error.value).startswith(str(broken)) and "\n" not in str(error.value)


@settings(max_examples=150)
@given(how=damage)
def test_damage_to_the_header_of_a_file_of_ours_is_seen_too(ours, how):
    whole, broken = ours.read_bytes(), ours.with_name("broken.safetensors")
    start = 8 + int.from_bytes(whole[:8], "little")
    broken.write_bytes(damaged(whole[:start], *how) + whole[start:])
    try:
        assert load(broken).summary == load(ours).summary
    except UserError as error:
        assert str(error).startswith(str(broken)) and "\n" not in str(error)


def test_a_zip_that_is_no_checkpoint_is_refused(here, refusal):
    with zipfile.ZipFile("theirs.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch touched'\ntR.")
    refusal(["import", "theirs.pt", "--output", "ours.safetensors", *FACTS])
    assert not (here / "touched").exists()
