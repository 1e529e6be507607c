"""`pip install`, then `from convmixer import ...`: as people do who only want the networks."""

import doctest
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import PROJECT

import convmixer
from convmixer.model import variants
from convmixer.trained import opening
from convmixer.trained.weight_files import load_weights, save_weights

WEIGHTS = PROJECT / "weights" / "small-cifar10.safetensors"


def python(code: str, folder: Path, *path: Path) -> str:
    """What a fresh Python prints that runs `code` in `folder`, finding packages in `path`."""
    search = ";".join(f"sys.path.insert(0, {str(p)!r})" for p in path)
    command = [sys.executable, "-c", f"import sys;{search}\n{code}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package built as a wheel and installed into a folder, without the packages that it needs."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    shutil.copytree(PROJECT / "convmixer", source / "convmixer", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "--wheel-dir", str(source / "dist")]
    subprocess.run(build, check=True, timeout=120)
    (wheel,) = (source / "dist").glob("convmixer_lab-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True, timeout=120)
    return target


@pytest.mark.slow
def test_the_wheel_works_from_another_folder(installed, tmp_path):
    shutil.copy(WEIGHTS, tmp_path)
    code = f"""
import convmixer, torch
from convmixer import conv_mixer_256_8, load
assert convmixer.__file__.startswith({str(installed)!r}), convmixer.__file__
trained = load({WEIGHTS.name!r})
images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
print(tuple(trained.model(trained.normalise(images)).shape), trained.classes[3])
print(sum(p.numel() for p in conv_mixer_256_8().parameters()))
"""
    assert python(code, tmp_path, installed) == "(2, 10) cat\n706570\n"


@pytest.mark.slow
def test_the_wheel_is_marked_as_typed_and_holds_the_whole_package(installed):
    there, here = (
        {p.relative_to(root) for p in root.rglob("*") if p.is_file() and p.suffix != ".pyc"}
        for root in (installed / "convmixer", PROJECT / "convmixer")
    )
    assert there == here and Path("py.typed") in there


@pytest.mark.slow
def test_a_type_checker_knows_what_the_library_gives(installed, tmp_path):
    (tmp_path / "use.py").write_text(
        "from convmixer import conv_mixer_256_8, load\n"
        "reveal_type(conv_mixer_256_8())\n"
        'reveal_type(load("x.safetensors").classes)\n'
        'conv_mixer_256_8(n_classes="ten")\n'
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "use.py"]
    environment = os.environ | {"MYPYPATH": str(installed)}
    checked = subprocess.run(mypy, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    first, second, third, _ = checked.stdout.splitlines()
    assert 'Revealed type is "convmixer.model.layers.ConvMixer"' in first
    assert 'Revealed type is "tuple[str, ...]"' in second
    assert third.startswith("use.py:4: error:") and 'expected "int"' in third


@pytest.mark.parametrize("name", [name for name in convmixer.__all__ if name[0].islower()])
def test_every_public_function_is_typed_and_described(name):
    function = getattr(convmixer, name)
    assert function.__doc__ and "return" in function.__annotations__


def test_what_is_not_there_is_said_as_python_does():
    with pytest.raises(AttributeError, match="no attribute 'conv_mixer_256_9'"):
        convmixer.conv_mixer_256_9  # noqa: B018
    assert set(convmixer.__all__) < set(dir(convmixer))


@pytest.mark.parametrize("size", ["256/8", "256/16", "768/32", "1024/20", "1536/20"])
def test_the_papers_networks_have_the_parameters_that_are_told(size):
    function = getattr(convmixer, "conv_mixer_" + size.replace("/", "_"))
    millions = float(re.search(r"([\d.]+) M parameters", function.__doc__).group(1))
    with torch.device("meta"):
        parameters = sum(p.numel() for p in function().parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.06)


def test_the_examples_in_docstrings_run(monkeypatch):
    monkeypatch.chdir(PROJECT)
    for module in (opening, variants):
        ran = doctest.testmod(module)
        assert ran.attempted >= 3 and ran.failed == 0


def test_the_examples_in_the_guide_run(monkeypatch, tmp_path):
    monkeypatch.chdir(PROJECT)
    ran = doctest.testfile(str(PROJECT / "docs" / "library.md"), module_relative=False)
    assert ran.attempted >= 8 and ran.failed == 0


IMPORT = """
import sys, time, torch
before, start = (sys.stdout, sys.stderr, sys.stdout.write), time.process_time()
from convmixer import conv_mixer_256_8, load
spent = time.process_time() - start
conv_mixer_256_8(d_model=8)
assert (sys.stdout, sys.stderr, sys.stdout.write) == before
print(spent, *(name for name in ("labml", "torchvision", "pandas", "matplotlib", "timm") if name in sys.modules))
"""


def test_importing_the_model_adds_little_to_torchs_import_and_leaves_standard_output_alone(tmp_path):
    """CPU time of the process, median of three: what else the machine does hardly counts."""
    seconds, others = zip(*(python(IMPORT, tmp_path, PROJECT).partition(" ")[::2] for _ in range(3)), strict=True)
    assert not any(map(str.strip, others))
    assert statistics.median(map(float, seconds)) < 0.3


def test_a_tiny_deviation_in_a_weights_file_is_taken_as_one_level(tmp_path):
    """Files of before kept it as it was measured: 1e-6, or 0, of a channel that is the same in every training image."""
    weights, metadata = load_weights(WEIGHTS)
    metadata["data"]["std"] = [0.25, 0.0, 1e-6]
    save_weights(tmp_path / "old.safetensors", weights, metadata)
    assert convmixer.load(tmp_path / "old.safetensors").std == (0.25, 1 / 255, 1 / 255)


def test_classes_of_one_name_are_told_apart(tmp_path):
    """In files that were imported when that was not refused yet."""
    weights, metadata = load_weights(WEIGHTS)
    metadata["data"]["classes"][:3] = ["crane", "toucan", "crane"]
    save_weights(tmp_path / "old.safetensors", weights, metadata)
    assert convmixer.load(tmp_path / "old.safetensors").classes[:3] == ("crane (0)", "toucan", "crane (2)")


def test_classes_as_a_mac_writes_them_are_those_of_any_tree(tmp_path):
    weights, metadata = load_weights(WEIGHTS)
    metadata["data"]["classes"][0] = "cafe\u0301"
    save_weights(tmp_path / "old.safetensors", weights, metadata)
    assert convmixer.load(tmp_path / "old.safetensors").classes[0] == "caf\u00e9"
