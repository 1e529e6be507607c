"""The space of a sweep: what the texts mean, and that whatever is wrong is said in one line before the first trial."""

import shlex
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from convmixer.cli import main
from convmixer.configs import Configs
from convmixer.configs.keys import keys_of
from convmixer.errors import UserError
from convmixer.sweeps.space import Space
from convmixer.sweeps.space_text import read_space, read_space_file

KEYS = keys_of(Configs)


def space(*words: str) -> Space:
    return read_space(dict(word.split("=", 1) for word in words), KEYS, "command line")


MEANINGS = [
    ("d_model=64,128,256", CategoricalDistribution([64, 128, 256])),
    ("d_model=64, 1e2", CategoricalDistribution([64, 100])),
    ("activation=GELU,ReLU", CategoricalDistribution(["GELU", "ReLU"])),
    ("gradient_clip=none,1", CategoricalDistribution([None, 1.0])),
    ("compile=bool", CategoricalDistribution([True, False])),
    ("augment.ops=[translate,flip],[flip]", CategoricalDistribution(["[translate,flip]", "[flip]"])),
    ("n_layers=range(4,10,2)", IntDistribution(4, 8, step=2)),
    ("n_layers=range(1,4)", IntDistribution(1, 3)),
    ("n_layers=int(2,9)", IntDistribution(2, 9)),
    ("d_model=intlog(16,512)", IntDistribution(16, 512, log=True)),
    ("label_smoothing=uniform(0, 0.2)", FloatDistribution(0, 0.2)),
    ("optimizer.learning_rate=log(1e-4,1e-1)", FloatDistribution(1e-4, 0.1, log=True)),
    ("optimizer.weight_decay=int(0,3)", IntDistribution(0, 3)),
]


@pytest.mark.parametrize(("word", "distribution"), MEANINGS, ids=[word for word, _ in MEANINGS])
def test_a_text_means(word: str, distribution: object) -> None:
    read = space(word)
    assert read.parameters[0].distribution == distribution
    assert not read.fixed


def test_single_values_and_free_text_are_fixed() -> None:
    read = space("d_model=64,128", "epochs=2", "comment=wide, then deep if time", "augment.ops=translate,flip")
    assert read.fixed == {"epochs": 2, "comment": "wide, then deep if time", "augment.ops": ["translate", "flip"]}
    assert read.arguments({"d_model": 64}) == [
        "epochs=2",
        "comment=wide, then deep if time",
        "augment.ops=[translate,flip]",
        "d_model=64",
    ]


def test_conditions_are_drawn_after_what_they_depend_on() -> None:
    read = space(
        "optimizer.momentum=uniform(0.5,0.99) if optimizer.optimizer=SGD",
        "optimizer.eps=1e-8 if optimizer.optimizer=AdamW",
        "optimizer.optimizer=AdamW,SGD",
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [read.suggest(study.ask()) for _ in range(20)]
    assert {frozenset(p) for p in points} == {
        frozenset({"optimizer.optimizer", "optimizer.momentum"}),
        frozenset({"optimizer.optimizer", "optimizer.eps"}),
    }
    assert all(("optimizer.momentum" in p) == (p["optimizer.optimizer"] == "SGD") for p in points)


def test_a_grid_holds_every_point_once() -> None:
    read = space(
        "d_model=8,16", "optimizer.optimizer=AdamW,SGD", "optimizer.momentum=0.5,0.9 if optimizer.optimizer=SGD"
    )
    assert [tuple(p.values()) for p in read.grid()] == [
        (8, "AdamW"),
        (8, "SGD", 0.5),
        (8, "SGD", 0.9),
        (16, "AdamW"),
        (16, "SGD", 0.5),
        (16, "SGD", 0.9),
    ]


def test_probes_hold_every_choice_and_both_ends() -> None:
    read = space("d_model=8,16", "epochs=int(2,9)", "optimizer.optimizer=AdamW,SGD", "activation=ReLU if d_model=16")
    seen = {(name, value) for probe in read.probes() for name, value in probe.items()}
    assert {("d_model", 8), ("d_model", 16), ("epochs", 2), ("epochs", 9), ("activation", "ReLU")} <= seen
    assert all(("activation" in probe) == (probe["d_model"] == 16) for probe in read.probes())


def test_a_file_gives_the_same_space(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "d_model: [64, 128]\n"
        "compile: bool\n"
        "epochs: 3\n"
        "augment: {ops: [translate, flip]}\n"
        "optimizer:\n"
        "  optimizer: [AdamW, SGD]\n"
        "  learning_rate: log(1e-4,1e-1)\n"
        "  momentum: uniform(0,0.99) if optimizer.optimizer=SGD\n"
    )
    words = (
        "d_model=64,128 compile=bool epochs=3 augment.ops=[translate,flip] optimizer.optimizer=AdamW,SGD "
        "optimizer.learning_rate=log(1e-4,1e-1) 'optimizer.momentum=uniform(0,0.99) if optimizer.optimizer=SGD'"
    )
    assert read_space(read_space_file(file), KEYS, "file") == space(*shlex.split(words))


WRONG = [
    # keys and values, as everywhere, in each place of a choice
    ("d_modle=64,128", "did you mean d_model?"),
    ("d_model=64,ten", "d_model=ten is wrong, expected an integer"),
    ("d_model=64,0", "d_model=0 is wrong, expected an integer from 1"),
    ("d_model=64,,128", "d_model= is wrong"),
    ("schedule=cosine,linear", "schedule=linear is wrong, expected one of paper, cosine, trapezoid, constant"),
    ("optimizer.optimizer=AdamW,Adam", "did you mean AdamW?"),
    ("d_model=64,128,64", "64 is there twice"),
    ("d_model=64,128 d_model=64", "d_model is given twice"),
    # ranges
    ("d_model=int(0,64)", "d_model=0 is wrong, expected an integer from 1"),
    ("label_smoothing=uniform(0,1)", "label_smoothing=1.0 is wrong"),
    ("optimizer.learning_rate=log(1e-4,1000)", "learning_rate=1000.0 is wrong"),
    ("optimizer.learning_rate=log(1e-1,1e-4)", "the smaller end first"),
    ("optimizer.learning_rate=log(0,1)", "above 0"),
    ("optimizer.learning_rate=log(1e-4)", "log is given as log(1e-4,1e-1)"),
    ("optimizer.learning_rate=log(1,2,3)", "log is given as log(1e-4,1e-1)"),
    ("optimizer.learning_rate=uniform(a,b)", "uniform is given as uniform(0,0.5)"),
    ("optimizer.learning_rate=uniform(0,nan)", "uniform is given as uniform(0,0.5)"),
    ("optimizer.learning_rate=loguniform(1e-4,1e-1)", "one of range, uniform, log, int, intlog"),
    ("d_model=uniform(8,64)", "the key takes integers: int(...)"),
    ("d_model=log(8,64)", "the key takes integers: intlog(...)"),
    ("d_model=int(8.5,64)", "int is given as int(2,9)"),
    ("d_model=range(8,16,0)", "range is given as range(1,9,2)"),
    ("d_model=range(8,9)", "two values at least"),
    ("d_model=range(1,1000000000)", "range is given as"),
    ("activation=int(1,2)", "expected one of GELU, ReLU, SiLU"),
    ("d_model=bool", "expected an integer"),
    ("compile=true,maybe", "compile=maybe is wrong, expected true or false"),
    # conditions
    ("d_model=8,16 'activation=ReLU if d_model'", "KEY=VALUES if OTHER=VALUE"),
    ("d_model=8,16 'activation=ReLU if d_model=32'", "it is chosen among 8, 16"),
    ("d_model=8,16 'activation=ReLU if n_layers=8'", "n_layers is no choice of this sweep"),
    ("d_model=8,16 'activation=ReLU if d_modle=8'", "did you mean d_model?"),
    ("'d_model=8,16 if n_layers=2' 'n_layers=2,4 if d_model=8'", "these conditions go in a circle"),
    ("'d_model=8,16 if d_model=8'", "these conditions go in a circle"),
    # what can't be searched, or chosen by
    ("d_model=8", "there is nothing to search"),
    ("", "there is nothing to search"),
    ("seed=0,1", "--seeds K takes K of them"),
    ("seeds=1,2", "here it is --seeds K"),
    ("d_model=8,16 seeds=2", "here it is --seeds K"),
    ("data.dataset=shapes,cifar10", "different images can't be compared"),
    ("data.validation=0,100", "different images can't be compared"),
    ("d_model=8,16 device=cuda:1", "a sweep gives each run a GPU of its own"),
    ("d_model=8,16 data.validation=0", "a sweep chooses by the validation split"),
    ("d_model=8,16 --objective accuracy.test", "it is touched once, at a run's end"),
    ("d_model=8,16 --objective loss.test --direction minimize", "may not choose by the test split"),
    ("d_model=8,16 --objective accuracy.vaild", "did you mean accuracy.valid?"),
    ("d_model=8,16 --objective my.own", "give --direction maximize or minimize"),
    # options
    ("d_model=8,16 --trials 0", "--trials"),
    ("d_model=8,16 --sampler bayes", "'tpe', 'random', 'grid'"),
    ("d_model=8,16 --timeout 5", "expected a time, as 90s, 30m or 2h"),
    ("d_model=8,16 --space none.yaml", "--space none.yaml: can't be read"),
    ("data.dataset=shapes d_model=8,16 --name a/b", "a name that can be a folder's"),
    ("data.dataset=shapes d_model=8,16 --jobs 10000 device=cpu", "--jobs 10000: there are"),
    ("d_model=8,16 optimizer.learning_rate=log(1e-4,1) --sampler grid", "has no end of values"),
    ("seed=1 train_batch_size=int(1,1000000) --sampler grid", "more than 100000 points"),
    ("'activation=ReLU if d_model=16' d_model=8,16 --sampler cmaes", "it knows no conditions"),
    ("data.dataset=shapes d_model=8,16 --storage somewhere", "expected a URL, as postgresql://user@host/database"),
    ("data.dataset=shapes d_model=8,16 --storage postgresql://a:b@127.0.0.1:1/c", "://a@127.0.0.1:1/c: can't be used"),
    ("data.dataset=shapes d_model=8,16 --ray 127.0.0.1:1", "--ray 127.0.0.1:1: no Ray cluster there"),
    ("data.dataset=shapes d_model=8,16 --ray local", "expected auto or HOST:PORT"),
    ("show", "there are no sweeps"),
    ("show nothing", "there are no sweeps"),
    ("dashboard", "there are no sweeps"),
    # what must agree with the data, in every choice and at both ends
    ("data.dataset=shapes patch_size=4,5", "patch_size=5 does not divide images of 32x32; 4 does"),
    ("data.dataset=shapes patch_size=int(4,9)", "patch_size=9 does not divide"),
    ("data.dataset=shapes d_model=8,16 'patch_size=4,5 if d_model=16'", "patch_size=5 does not divide"),
    ("data.dataset=shapes epochs=1,2 minutes=1", "epochs and minutes exclude each other"),
    ("data.dataset=shapes augment.ops=[flip],[flip,flip]", "augment.ops names flip twice"),
    ("data.dataset=images d_model=8,16", "needs data.path"),
    ("data.dataset=images data.path=nowhere d_model=8,16", "nowhere"),
]


@pytest.mark.parametrize(("line", "expected"), WRONG, ids=[line[:60] for line, _ in WRONG])
def test_is_refused_in_one_line(line: str, expected: str, here: Path, refusal) -> None:
    assert expected in refusal(["sweep", *shlex.split(line)])
    assert not (here / "logs").exists()


def test_auto_never_falls_back_in_a_sweep(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr("urllib.request._opener", None)  # which keeps the proxies of when it was made
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(SystemExit) as end:
        main(arguments=["sweep", "d_model=8,16"])
    assert end.value.code == 2 and "data.dataset=shapes" in capsys.readouterr().err


TEXTS = st.text() | st.from_regex(
    r"(log|int|uniform|range|intlog)\([-0-9e.,]*\)( if [a-z_.]+=[0-9A-Z]+)?", fullmatch=True
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.sampled_from(sorted(KEYS)) | st.text(), TEXTS, max_size=4))
def test_no_text_makes_a_traceback(values: dict[str, str]) -> None:
    try:
        read = read_space(values, KEYS, "command line")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(read.arguments(probe) for probe in read.probes()) or not values
