"""What `export` writes is loaded by whom it is for, as its model card says, and gives the same logits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from peers import PEERS
from torch import Tensor, nn

from convmixer import load
from convmixer.model.interchange import LAYOUTS
from convmixer.tracking.runs import run

WEIGHTS = PROJECT / "weights" / "small-cifar10.safetensors"


def images(n: int) -> Tensor:
    return torch.randn(n, 3, 32, 32)


def expected(batch: Tensor) -> np.ndarray:
    with torch.no_grad():
        return load(WEIGHTS).model(batch).numpy()


def use_as_the_card_says(card: Path, **names: object) -> dict:
    """Run the Python on a model card, and return what it defines."""
    code = re.search(r"```python\n(.*?)```", card.read_text(), re.DOTALL).group(1)
    exec(code, names)
    return names


def assert_gives_the_same(model: nn.Module) -> None:
    for n in (1, 5):
        batch = images(n)
        with torch.no_grad():
            np.testing.assert_allclose(model(batch).numpy(), expected(batch), atol=1e-4)


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_peer_loads_its_layout(here, call, layout, ending):
    call("export", WEIGHTS, "--output", f"mine{ending}", "--format", layout)
    card = here / ("mine.md" if ending == ".safetensors" else "mine.pt.md")

    def their_function(d_model: int, n_layers: int, kernel_size: int, patch_size: int, n_classes: int) -> nn.Module:
        return PEERS["authors"](d_model, n_layers, kernel_size, patch_size, n_classes, 3, "GELU")

    own = {"ConvMixer": their_function} if layout == "authors" else {}
    assert_gives_the_same(use_as_the_card_says(card, **own)["model"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_networks_of_one_channel_too(here, call, layout):
    """The authors' code has 3 channels written into it."""
    from peers import as_if_trained, timm_conv_mixer

    sizes = {"kernel_size": 5, "patch_size": 2, "n_classes": 3, "activation": "GELU"}
    torch.save(as_if_trained(timm_conv_mixer(8, 2, in_channels=1, **sizes)).state_dict(), "theirs.pth")
    facts = ("--classes", "a,b,c", "--image-size", 8, "--mean", "0.5", "--std", "1")
    call("import", "theirs.pth", "--output", "ours.safetensors", *facts)
    for ending, card in ((".safetensors", "mine.md"), (".pt", "mine.pt.md")):
        call("export", "ours.safetensors", "--output", f"mine{ending}", "--format", layout)

        def their_function(d_model: int, n_layers: int, kernel_size: int, patch_size: int, n_classes: int) -> nn.Module:
            return PEERS["authors"](d_model, n_layers, kernel_size, patch_size, n_classes, 3, "GELU")

        own = {"ConvMixer": their_function} if layout == "authors" else {}
        model = use_as_the_card_says(here / card, **own)["model"]
        batch = torch.randn(2, 1, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(load("ours.safetensors").model(batch), model(batch), rtol=1e-4, atol=1e-4)


def test_timm_makes_its_own_model_from_it(here, call):
    """A network of a size that timm has a name for, by its usual entry point."""
    import timm
    from peers import as_if_trained, timm_conv_mixer

    sizes = {"kernel_size": 7, "patch_size": 7, "n_classes": 3, "in_channels": 3, "activation": "ReLU"}
    torch.save(as_if_trained(timm_conv_mixer(768, 32, **sizes)).state_dict(), "theirs.pth")
    facts = ("--classes", "a,b,c", "--image-size", 28, "--mean", "0.5,0.5,0.5", "--std", "1,1,1")
    call("import", "theirs.pth", "--output", "ours.safetensors", *facts)
    call("export", "ours.safetensors", "--output", "back.safetensors", "--format", "timm")
    theirs = timm.create_model("convmixer_768_32", num_classes=3, checkpoint_path="back.safetensors").eval()
    batch = torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(load("ours.safetensors").model(batch), theirs(batch), rtol=1e-4, atol=1e-4)


def test_torch_export_takes_batches_of_any_size(here, call):
    call("export", WEIGHTS, "--output", "mine.pt2", "--format", "pt2")
    assert_gives_the_same(use_as_the_card_says(here / "mine.pt2.md")["model"])
    facts = {"convmixer.json": ""}
    torch.export.load("mine.pt2", extra_files=facts)
    assert json.loads(facts["convmixer.json"])["classes"][3] == "cat"


def test_onnxruntime_takes_batches_of_any_size(here, call):
    call("export", WEIGHTS, "--output", "mine.onnx", "--format", "onnx", "--fold")
    session = use_as_the_card_says(here / "mine.onnx.md")["session"]
    for n in (1, 5):
        batch = images(n)
        (logits,) = session.run(None, {"images": batch.numpy()})
        np.testing.assert_allclose(logits, expected(batch), atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"])[3] == "cat" and len(json.loads(facts["std"])) == 3
    assert "BatchNorm folded" in (here / "mine.onnx.md").read_text()


def test_weights_that_one_onnx_file_can_not_hold_are_refused(here, refusal, monkeypatch):
    monkeypatch.setattr("convmixer.trained.export.LARGEST_ONNX", 100_000)  # instead of 2 GiB
    said = refusal(["export", str(WEIGHTS), "--output", "mine.onnx", "--format", "onnx"])
    assert "an ONNX file holds at most 97.7 KiB; give --format pt2 or safetensors" in said
    assert not list(here.glob("mine*"))


@pytest.mark.slow
def test_the_other_ways_of_folding(here, call):
    call("export", WEIGHTS, "--output", "folded.pt2", "--format", "pt2", "--fold")
    assert_gives_the_same(torch.export.load("folded.pt2").module())
    call("export", WEIGHTS, "--output", "plain.onnx", "--format", "onnx")
    session = use_as_the_card_says(here / "plain.onnx.md")["session"]
    batch = images(3)
    np.testing.assert_allclose(session.run(None, {"images": batch.numpy()})[0], expected(batch), atol=1e-4)


def test_a_run_is_taken_away_with_its_card(command, call, here, tiny_run_overrides, tiny, tmp_path):
    command(*tiny_run_overrides)
    said = call("export", "last", "--output", "mine.safetensors").out
    assert re.fullmatch(r"mine.safetensors: \d+\.\d KiB; model card: mine.md\n", said)
    card = (tmp_path / "mine.md").read_text()
    summary = run("last", tmp_path / "logs").summary
    for part in (
        "ConvMixer 8/2, kernel 5, patch 2, GELU",
        f"{summary['accuracy.test']:.2%} of 60 test images of tiny",
        "210 training images of 16x16, classes: blue, green, red",
        "`small`: `python ",
        " data.path=FOLDER ",
        "| licence | MIT |",
        "torch " + torch.__version__.split("+")[0],
    ):
        assert part in card
    everything = card.encode() + (tmp_path / "mine.safetensors").read_bytes()
    assert str(tiny).encode() not in everything  # nobody's business
    # What was exported can be exported again, and its card still tells of the run.
    call("export", "mine.safetensors", "--output", "again.safetensors")
    rows = [row for row in card.splitlines() if row.startswith("|") and not row.startswith(("| file", "| recipe"))]
    assert set(rows) < set((tmp_path / "again.md").read_text().splitlines())
    assert f"{summary['accuracy.test']:.2%}" in call("evaluate", "again.safetensors", "--data", tiny).out


OWN_LAYER = """
import sys
sys.path.insert(0, {project!r})
from labml.configs import option
import convmixer
from convmixer.configs import Configs
from convmixer.model.layers import ConvMixerLayer

class Twice(ConvMixerLayer):
    def forward(self, x):
        return super().forward(super().forward(x))

class MyConfigs(Configs):
    layer = "twice"

@option(MyConfigs.layer)
def twice(c: MyConfigs):
    return Twice(c.d_model, c.kernel_size)

if __name__ == "__main__":
    convmixer.main(MyConfigs)
"""


@pytest.mark.slow
def test_own_layers_go_where_any_network_can(command, tiny_run_overrides, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(OWN_LAYER.format(project=str(PROJECT)))
    command(*tiny_run_overrides, script=mine)
    for wanted in ("x.pt --format timm", "x.pt --format labml", "x.pt2 --format pt2 --fold"):
        refused = command("export", "last", "--output", *wanted.split(), script=mine, status=2).stderr
        assert "this network has other" in refused and refused.count("\n") == 1
    assert not list(tmp_path.glob("x.*"))
    command("export", "last", "--output", "x.pt2", "--format", "pt2", script=mine)
    logits = torch.export.load(tmp_path / "x.pt2").module()(torch.rand(4, 3, 16, 16))
    assert logits.shape == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--output x.pt", "give --format timm, authors or labml: whose layout?"),
        ("--output x.zip", "expected a name that ends in .onnx, .pt2, .safetensors"),
        ("--output x.onnx --format safetensors", "ends in .safetensors for safetensors; or give --format onnx"),
        ("--output x.safetensors --format onnx", "expected a name that ends in .onnx for onnx"),
        ("--output x --format timm", "ends in .safetensors or .pt or .pth or .bin for timm"),
        ("--output x.pt --format tim", "'tim' is not one of"),
        (
            "--output x.pt --format timm --fold",
            "the format timm can't hold a folded network; give --format pt2 or onnx",
        ),
        ("--output none/x.safetensors", "there is no folder none"),
        ("--output folder.safetensors", "is a folder"),
        ("--output README.safetensors", "README.md: exists and is not a model card"),
        ("--output README.md --format timm", "expected a name that ends in"),
        ("--format onnx", "Missing option '--output'"),
    ],
)
def test_wrong_requests_are_one_line_and_leave_nothing(here, refusal, arguments, expected):
    (here / "folder.safetensors").mkdir()
    (here / "README.md").write_text("mine")
    assert expected in refusal(["export", str(WEIGHTS), *arguments.split()])
    assert {path.name for path in here.iterdir()} == {"folder.safetensors", "README.md"}


def test_a_folder_for_the_hub_is_what_its_card_says(here, call, refusal):
    from huggingface_hub import ModelCard

    arguments = ["export", str(WEIGHTS), "--format", "hub", "--output", "mine"]
    said = call(*arguments).out
    assert "hf upload USER/NAME mine" in said
    assert {path.name for path in (here / "mine").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    defined = use_as_the_card_says(here / "mine" / "README.md")
    assert_gives_the_same(defined["model"])
    assert tuple(defined["classes"]) == load(WEIGHTS).classes
    metadata = ModelCard.load(here / "mine" / "README.md").data
    assert (metadata.license, metadata.library_name, metadata.pipeline_tag) == ("mit", "timm", "image-classification")
    (result,) = metadata.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.8741, "cifar10")
    assert "exists; --force overwrites" in refusal(arguments)
    call(*arguments, "--force")
    (here / "mine" / "secret.txt").write_text("")
    assert "holds secret.txt, which is not of a model" in refusal([*arguments, "--force"])
    assert "is a file" in refusal([*arguments[:-1], "mine/README.md"])


@pytest.mark.slow
def test_timm_creates_a_network_of_one_of_its_sizes_from_the_folder(here, call):
    from peers import as_if_trained, timm_conv_mixer

    theirs = as_if_trained(timm_conv_mixer(768, 32, 7, 7, 5, 3, "ReLU"))
    torch.save(theirs.state_dict(), "theirs.pth")
    facts = ("--classes", "a,b,c,d,e", "--image-size", "28", "--mean", ".5,.5,.5", "--std", ".2,.2,.2")
    call("import", "theirs.pth", "--output", "ours.safetensors", *facts)
    call("export", "ours.safetensors", "--format", "hub", "--output", "mine")
    defined = use_as_the_card_says(here / "mine" / "README.md")
    batch = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(defined["model"](batch), theirs(batch), atol=1e-4, rtol=1e-4)
    assert tuple(defined["classes"]) == ("a", "b", "c", "d", "e")


def test_the_ending_names_the_format_and_a_file_is_kept_unless_forced(here, call, refusal):
    arguments = ["export", str(WEIGHTS), "--output", "mine.pt2"]
    call(*arguments)
    assert torch.export.load(here / "mine.pt2").module()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    (here / "mine.pt2").write_text("dear")
    assert "--output mine.pt2: exists; --force overwrites it" in refusal(arguments)
    assert (here / "mine.pt2").read_text() == "dear"
    call(*arguments, "--force")
    assert (here / "mine.pt2").stat().st_size > 10_000


@pytest.mark.parametrize("command", [["predict", "x.onnx", "."], ["evaluate", "x.pt2"], ["predict", "x.pth", "."]])
def test_other_files_than_ours_are_answered_with_what_is_taken(here, refusal, command):
    (here / command[1]).write_text("")
    said = refusal(command)
    assert f"{command[1]}: expected a run (its uuid, the beginning of it, last or best) or a .safetensors file" in said


@pytest.mark.parametrize("reference", ["none.safetensors", "last"])
def test_what_is_not_there_can_not_be_exported(here, refusal, reference):
    refusal(["export", reference, "--output", "x.safetensors"])
    assert not list(here.iterdir())


def test_a_file_that_lost_a_bit_is_not_used(here, call, refusal):
    call("export", WEIGHTS, "--output", "mine.safetensors")
    content = bytearray(Path("mine.safetensors").read_bytes())
    content[-1000] ^= 4
    Path("bad.safetensors").write_bytes(content)
    assert "SHA-256" in refusal(["export", "bad.safetensors", "--output", "x.safetensors"])


def test_labml_nn_can_not_take_what_it_has_not(here, call, refusal):
    torch.save(PEERS["timm"](8, 1, 4, 4, 2, 3, "GELU").state_dict(), "even.pt")
    facts = ("--classes", "a,b", "--image-size", 8, "--mean", "0,0,0", "--std", "1,1,1")
    call("import", "even.pt", "--output", "even.safetensors", *facts)
    call("import", "even.pt", "--output", "relu.safetensors", *facts, "--activation", "ReLU")
    assert "takes only odd ones" in refusal(["export", "even.safetensors", "--output", "x.pt", "--format", "labml"])
    assert "only has GELU" in refusal(["export", "relu.safetensors", "--output", "x.pt", "--format", "labml"])
