"""Files from a stranger can crash nothing but their own command, and run no code."""

import io
import json
import os
import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.robustness.fuzz.attempts import TARGETS, attempt, fuzzing_room
from benchmarks.robustness.fuzz.spoiling import Touch, nested
from benchmarks.robustness.fuzz.weights import SAMPLE
from convmixer.console import printable
from convmixer.dashboard.follower import Follower
from convmixer.dashboard.records import list_item
from convmixer.dashboard.storage import Store
from convmixer.data import cache
from convmixer.data.images import labelled_images
from convmixer.data.splits import Split, measured
from convmixer.errors import UserError
from convmixer.files.pickles import NotPlain, load_plain
from convmixer.files.untrusted import MOST_NODES, parse_json, read_bytes, read_yaml
from convmixer.tracking.run_folder import check_folder
from convmixer.tracking.runs import compare, run, runs
from convmixer.trained.evaluation_figures import confusion_figure
from convmixer.trained.opening import from_run
from convmixer.training import checkpoints


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # not to shrink: a seed is enough
@given(chance=st.randoms(use_true_random=False))
def test_a_spoilt_input_is_read_or_refused(target: str, chance: random.Random) -> None:
    """The longer campaign: `python -m benchmarks.robustness.fuzz`."""
    with fuzzing_room() as room:
        attempt(target, chance, room)


@pytest.fixture
def ended(here: Path) -> Path:
    """The folder of a run, in `logs/`, and a stranger's to fill in."""
    return Path(shutil.copytree(SAMPLE / "sample" / "ended", here / "logs" / "sample" / "ended"))


@pytest.mark.parametrize("name", ["run.yaml", "log.jsonl", "summary.json", "checkpoints/best.pt", ".lock"])
def test_a_link_out_of_a_run_is_not_followed(ended: Path, here: Path, refusal, name: str) -> None:
    secret = here / "secret"
    secret.write_bytes((ended / name).read_bytes() if (ended / name).exists() else b"mine")
    before = secret.read_bytes()
    (ended / name).unlink(missing_ok=True)
    (ended / name).symlink_to(secret)
    for command in (["evaluate", "ended"], ["resume", "ended"], ["export", "ended", "--output", "x.safetensors"]):
        assert "is a link that leads out of the run's folder" in refusal(command)
    assert runs(here / "logs").status.tolist() == ["damaged"]
    assert secret.read_bytes() == before


def test_a_link_within_a_run_and_a_link_to_a_run_are_followed(ended: Path, here: Path) -> None:
    (ended / "checkpoints" / "last.pt").unlink()
    (ended / "checkpoints" / "last.pt").symlink_to("best.pt")
    (ended.parent).rename(here / "elsewhere")
    (here / "logs" / "sample").symlink_to(here / "elsewhere")
    assert from_run(run("ended", here / "logs")).model


@pytest.mark.parametrize("name", ["run.yaml", "log.jsonl", "summary.json", "checkpoints/best.pt", "run_log.jsonl"])
def test_a_fifo_in_a_run_is_not_waited_for(ended: Path, here: Path, refusal, name: str) -> None:
    (ended / name).unlink()
    os.mkfifo(ended / name)
    assert "is not an ordinary file" in refusal(["evaluate", "ended"])
    assert runs(here / "logs").status.tolist() == ["damaged"]
    with pytest.raises(UserError, match="is not an ordinary file"):
        read_bytes(ended / name)


def test_names_are_not_obeyed_by_the_terminal(ended: Path, call) -> None:
    info = yaml.safe_load((ended / "run.yaml").read_text()) | {"name": "\x1b[2Jcleared [bold]\x07"}
    (ended / "run.yaml").write_text(yaml.safe_dump(info))
    said = call("runs").out
    assert r"\x1b[2Jcleared [bold]\x07" in said and "\x1b" not in said
    assert printable("a\x1b[31m\udcff\u202e b") == r"a\x1b[31m\udcff\u202e b"


def test_an_error_names_a_hostile_file_in_one_harmless_line(here: Path, refusal) -> None:
    (here / "\x1b[31mred\n.yaml").write_text("[")
    line = refusal(["--config", "\x1b[31mred\n.yaml", "epochs=1"])
    assert "\x1b" not in line and r"\x1b[31mred" in line


YAMLS = {
    "swells": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]" for n in range(8)),
    "holds itself": "a: &a [*a]",
    "is deep": "[" * 100 + "]" * 100,
    "is deep by indentation": "\n".join(" " * n + "a:" for n in range(100)),
    "has a number that takes long": "a: " + "1:" * 100_000 + "1",
    "names code": "a: !!python/object/apply:os.mkdir [canary]",
    "is no text": "a: \udcff",
    "has an odd tag": "a: !!bool x",
}


@pytest.mark.parametrize("what", YAMLS)
def test_yaml_that_is_a_trap_is_refused(here: Path, what: str) -> None:
    (here / "my.yaml").write_bytes(YAMLS[what].encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"my\.yaml: not valid YAML"):
        read_yaml(here / "my.yaml")
    assert not (here / "canary").exists()


def test_yaml_with_aliases_is_read(here: Path) -> None:
    (here / "my.yaml").write_text("a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}}\n")
    assert read_yaml(here / "my.yaml") == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}
    (here / "my.yaml").write_text("[" + "1," * (MOST_NODES + 1) + "]")
    with pytest.raises(UserError, match="more than 200,000 parts"):
        read_yaml(here / "my.yaml")


def test_json_is_bounded_in_depth() -> None:
    assert parse_json("[" * 50 + "]" * 50) == nested(49)
    for deep in (51, 500, 200_000):
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json("[" * deep + "]" * deep)


def test_files_are_bounded_in_size(here: Path) -> None:
    (here / "large").write_bytes(bytes(101))
    assert len(read_bytes(here / "large", 101)) == 101
    with pytest.raises(UserError, match="has more than 100 bytes"):
        read_bytes(here / "large", 100)
    with open(here / "sparse", "wb") as file:
        file.truncate(2**40)  # which takes no room
    with pytest.raises(UserError, match="has more than 17,179,869,184 bytes"):
        checkpoints.load(here / "sparse")


def test_a_pickle_that_is_compressed_is_refused() -> None:
    """torch reads one, and a megabyte of it can be a gigabyte."""
    plain, packed = io.BytesIO(), io.BytesIO()
    torch.save({"weight": torch.zeros(10**6)}, plain)
    with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    assert load_plain(plain.getvalue())["weight"].numel() == 10**6
    with pytest.raises(NotPlain, match="compressed"):
        load_plain(packed.getvalue())


def test_code_in_the_checkpoint_of_a_run_is_not_run(ended: Path, here: Path, refusal) -> None:
    state = checkpoints.load(ended / "checkpoints" / "best.pt")
    checkpoints.save(ended / "checkpoints" / "best.pt", state | {"data": Touch()})
    assert "holds more than tensors and plain values" in refusal(["export", "ended", "--output", "x.safetensors"])
    assert not (here / "canary").exists()


def test_sizes_that_would_fill_all_memory_are_refused_before_the_network_is_built(ended: Path, refusal) -> None:
    path = ended / "configs.yaml"
    configs = yaml.safe_load(path.read_text())
    for key, size in (("d_model", 65536), ("n_layers", 1024)):
        configs[key]["value"] = configs[key]["computed"] = size
    path.write_text(yaml.safe_dump(configs))
    assert "d_model is 65536 in its configs, 4 in its weights" in refusal(
        ["export", "ended", "--output", "x.safetensors"]
    )


def test_a_name_of_weights_that_leads_out_of_a_run_is_not_followed(ended: Path, here: Path) -> None:
    (ended / "summary.json").write_text('{"weights": "../../../../secret"}')
    (here / "secret.pt").write_bytes(b"x")
    assert from_run(run("ended", here / "logs")).model  # of `best`


@pytest.mark.parametrize("fact", ["seconds", "accuracy.test", "test_images", "epochs", "versions", "recipe"])
def test_a_fact_of_a_summary_that_is_null_is_one_that_is_missing(ended: Path, refusal, fact: str) -> None:
    summary = json.loads((ended / "summary.json").read_text())
    (ended / "summary.json").write_text(json.dumps(summary | {fact: None}))
    line = refusal(["export", "ended", "--output", "x.safetensors"])
    assert f"lacks '{fact}', which the model card needs" in line


def test_the_dashboard_lists_a_run_whose_accuracy_is_no_number(ended: Path, here: Path) -> None:
    odd = {"accuracy.valid": None, "accuracy.train": "high"}
    summary = json.loads((ended / "summary.json").read_text())
    (ended / "summary.json").write_text(json.dumps(summary | odd))
    follower = Follower(here / "logs", Store(here / "dashboard.sqlite"))
    follower.look()
    (followed,) = follower.runs.values()
    assert "accuracy.test" in [value["name"] for value in list_item(followed)["metric_values"]]


def test_a_whole_number_that_no_float_holds_is_no_result(ended: Path, here: Path, call) -> None:
    summary = json.loads((ended / "summary.json").read_text()) | {
        "images_per_second": 10**400,
        "accuracy.train": 10**400,
    }
    (ended / "summary.json").write_text(json.dumps(summary))
    assert "speed" not in call("runs", "show", "ended").out
    follower = Follower(here / "logs", Store(here / "dashboard.sqlite"))
    follower.look()
    (followed,) = follower.runs.values()
    assert "accuracy.test" in [value["name"] for value in list_item(followed)["metric_values"]]


def test_half_of_a_surrogate_pair_is_escaped_in_tables(ended: Path, here: Path) -> None:
    """With PyArrow, pandas keeps text as UTF-8, which can't hold it."""
    summary = json.loads((ended / "summary.json").read_text()) | {"data": "\udcff", "device": "\udcff"}
    (ended / "summary.json").write_text(json.dumps(summary))
    assert runs(here / "logs").data.tolist() == [r"\udcff"]
    assert compare([run("ended", here / "logs")]).loc["device (end)"].tolist() == [r"\udcff"]


@pytest.mark.parametrize("track", [{"loss.train": [[0, [10**400]]]}, {"\udcff": [[0, [1]]]}], ids=["number", "name"])
def test_a_log_with_what_no_table_can_hold_is_damaged(ended: Path, here: Path, track: dict) -> None:
    (ended / "log.jsonl").write_text(json.dumps({"track": track, "time": 0}) + "\n")
    with pytest.raises(UserError, match="line 1 is damaged: expected values of metrics"):
        compare([run("ended", here / "logs")])


def test_a_fifo_for_weights_is_not_waited_for(here: Path, refusal) -> None:
    os.mkfifo("x.safetensors")
    for command in (["evaluate", "x.safetensors"], ["import", "x.safetensors", "--output", "y.safetensors"]):
        assert "is not an ordinary file" in refusal(command)


def test_a_postscript_file_that_is_called_a_picture_is_no_image(here: Path, refusal) -> None:
    """Pillow would start Ghostscript on it."""
    (here / "images" / "airplane").mkdir(parents=True)
    (here / "images" / "airplane" / "1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    weights = str(SAMPLE.parents[2] / "weights" / "small-cifar10.safetensors")
    assert "1.png is not an image" in refusal(["evaluate", weights, "--data", "images"])


def test_a_link_to_itself_is_refused(ended: Path, here: Path, refusal) -> None:
    (ended / "console.log").unlink()
    (ended / "console.log").symlink_to("console.log")
    assert "is a link that leads out of the run's folder or nowhere" in refusal(["evaluate", "ended"])
    (here / "images" / "airplane").mkdir(parents=True)
    (here / "images" / "airplane" / "1.png").symlink_to("1.png")
    with pytest.raises(UserError, match=r"1\.png cannot be read"):
        labelled_images(here / "images", ("airplane", "ship"), (8, 8, 3))


def test_a_folder_in_the_place_of_a_file_is_refused(ended: Path, refusal) -> None:
    (ended / "log.jsonl").unlink()
    (ended / "log.jsonl").mkdir()
    assert "log.jsonl is not an ordinary file" in refusal(["evaluate", "ended"])


def test_names_are_no_formulas_of_matplotlib() -> None:
    classes = ("$\\frac$", "a$b")
    confusion_figure(torch.ones(2, 2), classes, "on $\\frac$").savefig(io.BytesIO())


def test_a_cache_whose_header_points_nowhere_is_made_again(here: Path) -> None:
    """Its checksum would be that of nothing, for ever."""
    images = torch.zeros(4, 2, 2, 3, dtype=torch.uint8)
    split = Split(images, torch.tensor([0, 1, 0, 1]))
    cache.save(here, "one", "source", measured("pets", ("cat", "dog"), split, split))
    (file,) = here.iterdir()
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["test.images"]["data_offsets"] = [0, 2**63]
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    assert cache.load(here, "pets", "one") is None


def test_a_sound_run_is_sound(ended: Path) -> None:
    check_folder(ended)


def test_the_dashboard_shows_the_runs_beside_a_hostile_one(ended: Path, here: Path) -> None:
    hostile = Path(shutil.copytree(ended, ended.with_name("hostile")))
    (hostile / "log.jsonl").unlink()
    (hostile / "log.jsonl").symlink_to("/etc/passwd")
    odd = Path(shutil.copytree(ended, ended.with_name("odd")))
    configs = yaml.safe_load((odd / "configs.yaml").read_text())
    configs["layer"]["options"] = 3
    (odd / "configs.yaml").write_text(yaml.safe_dump(configs))
    follower = Follower(here / "logs", Store(here / "index.sqlite"))
    follower.look()
    assert sorted(follower.runs) == ["ended", "odd"]
    for followed in follower.runs.values():
        followed.read_configs()
    assert follower.runs["ended"].configs and not follower.runs["odd"].configs
