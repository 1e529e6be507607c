"""What may be given as a value, and which of several values wins."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from labml.configs import option
from torch import nn

from convmixer.configs.keys import keys_of
from convmixer.configs.overrides import check, read_config_file, split_assignments
from convmixer.configs.recipes import RECIPES
from convmixer.configs.resolving import resolve
from convmixer.configs.schema import Configs
from convmixer.console import as_argument
from convmixer.errors import UserError
from convmixer.model.layers import ConvMixerLayer
from convmixer.model.variants import SIZES

KEYS = keys_of(Configs)

GIVEN = [
    ("epochs=3", 3),
    ("epochs=1e2", 100),
    ("seed=0", 0),
    ("optimizer.learning_rate=1e-3", 0.001),
    ("optimizer.learning_rate=1", 1.0),
    ("compile=yes", True),
    ("compile=False", False),
    ("compile=0", False),
    ("gradient_clip=none", None),
    ("gradient_clip=0.5", 0.5),
    ("steps=None", None),
    ("n_classes=from_data", "from_data"),
    ("n_classes=12", 12),
    ("optimizer.betas=[0.8,0.99]", [0.8, 0.99]),
    ("optimizer.betas=0.8, 0.99", [0.8, 0.99]),
    ("augment.ops=[]", []),
    ("augment.ops=[flip]", ["flip"]),
    ("augment.ops=flip", ["flip"]),
    ("schedule=paper", "paper"),
    ("model_size=256/8", "256/8"),
    ("model_size=none", None),
    ("comment=learning_rate=0.1, at last", "learning_rate=0.1, at last"),
    ("data.path=a b/ü.zip", "a b/ü.zip"),
    ("data.path=a\u00a0b\u202fc/d ", "a\u00a0b\u202fc/d "),
    ("data.path=\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u200c\u062e\u0648"),  # Persian, with a joiner
]


@pytest.mark.parametrize(("argument", "value"), GIVEN, ids=[a for a, _ in GIVEN])
def test_text_becomes_the_key_s_type(argument: str, value: object) -> None:
    (found,) = check(split_assignments([argument]), KEYS, "command line").values()
    assert found == value and type(found) is type(value)


@given(st.data())
def test_every_right_value_survives_the_command_line(data: st.DataObject) -> None:
    """`as_argument` writes what is read back as the same value: so runs are started again with the same configs."""
    values = {
        "epochs": st.integers(1, 10**6),
        "optimizer.learning_rate": st.floats(1e-300, 100),
        "compile": st.booleans(),
        "gradient_clip": st.none() | st.floats(1e-9, 1e9),
        "augment.ops": st.lists(st.sampled_from(["translate", "flip"])),
        "optimizer.betas": st.lists(st.floats(0, 0.999), min_size=2, max_size=2),
        "schedule": st.sampled_from(["paper", "cosine"]),
    }
    name = data.draw(st.sampled_from(sorted(values)))
    value = data.draw(values[name])
    assert check(split_assignments([as_argument(name, value)]), KEYS, "test") == {name: value}


def test_yaml_may_be_nested_or_dotted(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("epochs: 3\noptimizer:\n  learning_rate: 1e-3\ndata.validation: 0\naugment: {ops: [flip]}\n")
    assert check(read_config_file(file), KEYS, "a.yaml") == {
        "epochs": 3,
        "optimizer.learning_rate": 0.001,
        "data.validation": 0,
        "augment.ops": ["flip"],
    }


@pytest.mark.parametrize(
    ("yaml_text", "argument"),
    [
        ("epochs: 010", "epochs=010"),
        ("epochs: 1_0", "epochs=1_0"),
        ("name: 2024-01-01", "name=2024-01-01"),
        ("name: 010", "name=010"),
        ("name: on", "name=on"),
        ("comment: 1:30", "comment=1:30"),
        ("comment: '5'", "comment=5"),
        ("compile: on", "compile=on"),
        ("optimizer.learning_rate: 1e-3", "optimizer.learning_rate=1e-3"),
        ("optimizer.betas: [0.8, .99]", "optimizer.betas=[0.8,.99]"),
        ("steps: ~", "steps=none"),
        ("steps:", "steps=none"),
    ],
)
def test_yaml_means_what_the_command_line_means(yaml_text: str, argument: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml_text)
    assert check(read_config_file(tmp_path / "a.yaml"), KEYS, "") == check(split_assignments([argument]), KEYS, "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_yaml_of_any_editor(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("epochs: 3\r\nname: é\r\n".encode(encoding))
    assert check(read_config_file(tmp_path / "a.yaml"), KEYS, "") == {"epochs": 3, "name": "é"}


def test_yaml_files_that_yaml_reads_otherwise(cases: Path) -> None:
    assert check(read_config_file(cases / "yaml" / "octal.yaml"), KEYS, "") == {"epochs": 10}
    assert check(read_config_file(cases / "yaml" / "date-name.yaml"), KEYS, "") == {"name": "2024-01-01"}
    with pytest.raises(UserError, match="minutes=1:30 is wrong, expected a number"):
        check(read_config_file(cases / "yaml" / "sexagesimal.yaml"), KEYS, "--config")


def test_yaml_may_merge_mappings(tmp_path: Path) -> None:
    text = "optimizer: &usual {learning_rate: 0.1, eps: 1e-3}\noptimizer.weight_decay: 0\n"
    (tmp_path / "a.yaml").write_text(f"{text}augment:\n  <<: {{ops: [flip], translate: 3}}\n  translate: 2\n")
    read = check(read_config_file(tmp_path / "a.yaml"), KEYS, "")
    assert read["augment.ops"] == ["flip"] and read["augment.translate"] == 2
    (tmp_path / "a.yaml").write_text("a: &a {epochs: 3}\n<<: *a\nepochs: 4\nepochs: 5")
    with pytest.raises(UserError, match="epochs is given twice"):
        read_config_file(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", ["", " ", "\u00a0", "a\x1b[1m", "a\nb", "a\u202eb"])
def test_text_that_a_terminal_would_obey_or_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="expected text"):
        check({"data.path": text}, KEYS, "")


def test_later_wins_defaults_recipe_given() -> None:
    assert resolve({}, KEYS)["optimizer.eps"] == KEYS["optimizer.eps"].default
    assert resolve({"recipe": "paper"}, KEYS)["optimizer.eps"] == 1e-3
    assert resolve({"recipe": "paper", "optimizer.eps": 0.5}, KEYS)["optimizer.eps"] == 0.5


def test_a_model_size_gives_way_key_by_key() -> None:
    values = resolve({"recipe": "small", "model_size": "256/16", "patch_size": 2}, KEYS)
    assert (values["d_model"], values["n_layers"], values["kernel_size"], values["patch_size"]) == (256, 16, 9, 2)
    paper = resolve({"recipe": "paper", "kernel_size": 5}, KEYS)
    assert (paper["d_model"], paper["kernel_size"], paper["patch_size"]) == (256, 5, 1)


def test_a_recipe_s_starts_give_way_to_pretrained_weights() -> None:
    assert resolve({"recipe": "base"}, KEYS)["starts"]
    assert resolve({"recipe": "base", "pretrained": "mine.safetensors"}, KEYS)["starts"] == []


def test_the_recipe_without_a_recipe_follows_the_device() -> None:
    assert resolve({"device": "cpu"}, KEYS)["recipe"] == "small"
    assert resolve({"device": "cuda:1"}, KEYS)["recipe"] == "base"


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_right_values(name: str) -> None:
    assert check(RECIPES[name](), KEYS, name)


@pytest.mark.parametrize("name", SIZES)
def test_model_sizes_are_right_values(name: str) -> None:
    assert check(SIZES[name], KEYS, name)


def test_every_key_says_what_it_means_and_its_default_is_right() -> None:
    for name, key in KEYS.items():
        assert key.knob.help, name
        assert check({name: key.default}, KEYS, "default") == {name: key.default}


def test_a_subclass_s_own_keys_and_options_are_checked_too() -> None:
    class Mine(Configs):
        heads: int = 4
        layer = "mine"

    @option(Mine.layer, "mine")
    def mine(c: Mine) -> nn.Module:
        return nn.Identity()

    keys = keys_of(Mine)
    assert keys["heads"].default == 4
    assert keys["layer"].default == "mine" and "mine" in keys["layer"].options
    assert check({"heads": "8"}, keys, "command line") == {"heads": 8}
    assert isinstance(Mine().layer, nn.Identity)
    assert keys_of(Configs)["layer"].default == "conv_mixer_layer"
    assert isinstance(Configs().layer, ConvMixerLayer)


def test_configs_lists_every_key_and_marks_what_was_changed(command, tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text("epochs: 7\nseed: 1\n")
    lines = command("configs", "--config", "some.yaml", "seed=2", "recipe=small").stdout.splitlines()
    rows = {line.split()[0]: line for line in lines[1:]}
    assert rows.keys() == KEYS.keys()
    assert rows["epochs"].split()[1:3] == ["7", "*"]
    assert rows["seed"].split()[1:3] == ["2", "*"]
    assert rows["kernel_size"].split()[1:3] == ["5", "5"]
    assert "paper, cosine, trapezoid, constant" in rows["schedule"]


def test_yaml_of_a_run_can_be_read_by_safe_yaml_and_json() -> None:
    values = resolve({}, KEYS)
    assert yaml.safe_load(yaml.safe_dump(values)) == json.loads(json.dumps(values)) == values
