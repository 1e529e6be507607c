"""Whatever is wrong on a command line is said in one line on stderr, with exit status 2, and leaves nothing behind."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convmixer.cli import main

WRONG = [
    # unknown keys, and the nearest right one
    ("epoch=3", "did you mean epochs?"),
    ("d_modle=3", "did you mean d_model?"),
    ("lr=1", "did you mean optimizer.learning_rate?"),
    ("batch_size=64", "did you mean train_batch_size?"),
    ("batch=64", "did you mean train_batch_size?"),
    ("depth=4", "did you mean n_layers?"),
    ("width=4", "did you mean d_model?"),
    ("learning_rate=1", "did you mean optimizer.learning_rate?"),
    ("optimizer.lr=1", "did you mean optimizer.learning_rate?"),
    ("optimizer.wd=1", "did you mean optimizer.weight_decay?"),
    ("optimizer.learning_rte=1", "did you mean optimizer.learning_rate?"),
    ("data.datset=shapes", "did you mean data.dataset?"),
    ("xyzzy=1", "`configs` lists all keys"),
    (".=1", "unknown key"),
    ("run=1", "unknown key"),
    ("_values=1", "unknown key"),
    # a key below a plain value, a group as a value
    ("epochs.first=1", "epochs is a plain value"),
    ("seed.a.b=1", "seed is a plain value"),
    ("optimizer=AdamW", "optimizer is a group"),
    ("data=shapes", "data is a group"),
    # wrong types
    ("epochs=ten", "expected an integer"),
    ("epochs=1.5", "expected an integer"),
    ("epochs=", "expected an integer"),
    ("epochs=true", "expected an integer"),
    ("epochs=none", "expected an integer"),
    ("epochs=[1]", "expected an integer"),
    ("epochs=1e400", "expected an integer"),
    ("epochs=" + "9" * 5000, "expected an integer"),
    ("optimizer.learning_rate=fast", "expected a number"),
    ("optimizer.learning_rate=nan", "expected a number"),
    ("optimizer.learning_rate=inf", "expected a number"),
    ("compile=maybe", "expected true or false"),
    ("compile=2", "expected true or false"),
    ("optimizer.betas=[a,b]", "expected a list of numbers"),
    ("name=", "expected text"),
    ("name=a\x00b", "expected text"),
    # out of range
    ("epochs=-1", "from 1"),
    ("epochs=0", "from 1"),
    ("kernel_size=0", "from 1"),
    ("patch_size=0", "from 1"),
    ("d_model=-8", "from 1"),
    ("n_classes=1", "from 2"),
    ("seed=-1", "from 0"),
    ("minutes=0", "above 0"),
    ("optimizer.learning_rate=0", "above 0"),
    ("optimizer.betas=[0.9,1.5]", "expected a list of numbers"),
    ("label_smoothing=1", "up to 0.999"),
    ("gradient_clip=-1", "above 0"),
    ("ema=1.5", "above 0 up to 0.99999"),
    ("ema=0", "above 0"),
    ("stochastic_depth=1", "up to 0.95"),
    ("batch_norm_momentum=2", "up to 1"),
    ("optimizer.norm_bias_factor=0", "above 0"),
    ("micro_batch_size=0", "from 1"),
    ("starts=[whitenin]", "did you mean whitening?"),
    # options that do not exist
    ("model=bigg", "one of conv_mixer"),
    ("recipe=smal", "did you mean small?"),
    ("model_size=256/9", "did you mean 256/8?"),
    ("schedule=cosin", "did you mean cosine?"),
    ("optimizer.optimizer=Adam", "did you mean AdamW?"),
    ("data.dataset=cifar", "did you mean cifar10"),
    ("activation=gelu", "one of GELU, ReLU, SiLU"),
    ("augment.ops=[flip,rotate]", "a list of translate, flip"),
    ("precision=float64", "one of auto, float32"),
    ("final_weights=first", "one of best, last"),
    # a word that is no override, a key twice, things that exclude each other
    ("epochs=1 epochs=2", "epochs is given twice"),
    ("epochs=1 =2", "expected key=value"),
    ("epochs=1 seed", "expected key=value"),
    ("epochs=1 minutes=1", "epochs and minutes exclude each other"),
    ("steps=1 minutes=1", "steps and minutes exclude each other"),
    ("trian", "No such command 'trian'; did you mean train?"),
    ("xyzzy", "--help lists the commands"),
    ("--xyzzy", "No such option"),
    # a key as other programs take it
    ("--epochs=3", "did you mean epochs=3?"),
    ("--epochs 3", "did you mean epochs=3?"),
    ("train --batch-size 64", "did you mean train_batch_size=64?"),
    ("epochs 3", "did you mean epochs=3?"),
    ("epochs", "did you mean epochs=VALUE?"),
    ("train epochs 3", "expected key=value, as epochs=3"),
    # several values
    ("d_model=8,16", "to try all these values: sweep d_model=8,16"),
    ("optimizer.optimizer=AdamW,Muon", "to try all these values: sweep optimizer.optimizer=AdamW,Muon"),
    ("--config none.yaml", "can't be read"),
    ("resume last", "there are no runs"),
    ("evaluate", "Missing argument"),
    ("evaluate none.safetensors", "none.safetensors: can't be read"),
    # what must agree with the data
    ("data.dataset=shapes patch_size=5", "patch_size=5 does not divide images of 32x32; 4 does"),
    ("data.dataset=shapes model_size=1536/20", "patch_size=7 does not divide"),
    ("data.dataset=shapes n_classes=9", "less than the 10 classes"),
    ("data.dataset=shapes in_channels=1", "the images have 3"),
    ("data.dataset=shapes augment.translate=32", "does not fit"),
    ("data.dataset=shapes augment.ops=[flip,flip]", "names flip twice"),
    ("data.dataset=shapes data.validation=10000", "data.validation"),
    ("data.dataset=shapes data.validation=0 final_weights=best", "needs a validation split"),
    ("data.dataset=shapes optimizer.betas=[0.9]", "expected two numbers"),
    ("data.dataset=shapes patch_size=32 train_batch_size=1", "batch normalisation can't train"),
    ("data.dataset=shapes patch_size=32 train_batch_size=4 micro_batch_size=1", "give another patch_size or train_ba"),
    ("data.dataset=shapes patch_size=32 train_batch_size=128 data.validation=4879", "batch normalisation can't train"),
    (
        "data.dataset=shapes patch_size=32 train_batch_size=8 micro_batch_size=4 data.validation=9999",
        "expected 0 to 9990",
    ),
    ("data.dataset=shapes precision=float16 device=cpu", "needs a GPU"),
    ("data.dataset=shapes micro_batch_size=256", "micro_batch_size=256 is more than train_batch_size=128"),
    ("data.dataset=shapes micro_batch_size=30", "does not divide train_batch_size=128; 32 does"),
    ("data.dataset=shapes compile_mode=reduce-overhead", "compile_mode=reduce-overhead is given, but compile is false"),
    ("data.dataset=shapes compile=yes compile_mode=reduce-overhead micro_batch_size=32", "exclude each other"),
    ("data.dataset=shapes cuda_graph=true device=cpu", "cuda_graph=true needs a GPU (CUDA), not device=cpu"),
    ("data.dataset=shapes starts=[impulse,impulse]", "names impulse twice"),
    ("data.dataset=shapes starts=[covariance,impulse]", "both set the depth-wise filters"),
    ("data.dataset=shapes starts=[covariance] kernel_size=33", "takes kernel_size up to 31"),
    ("data.dataset=shapes starts=[identity] pretrained=x.safetensors", "exclude each other"),
    ("data.dataset=shapes optimizer.optimizer=Muon d_model=1", "Muon needs layers with 1x1 convolutions"),
    ("data.dataset=shapes device=cuda:99", "cuda:99"),
    ("data.dataset=shapes device=tpu", "device=tpu"),
    ("data.dataset=shapes name=a/b", "a name that can be a folder's"),
    (f"data.dataset=shapes name={'a' * 300}", "a name that can be a folder's: at most 255 bytes"),
    (f"data.dataset=shapes name={'字' * 90}", "a name that can be a folder's: at most 255 bytes"),
    ("data.dataset=images", "needs data.path"),
    ("data.dataset=images data.path=nowhere", "nowhere"),
    ("data.path=nowhere", "nowhere: no such folder"),
    ("data.path=.", "holds no CIFAR-10: expected cifar-10-batches-py/, "),
    ("data.dataset=cifar10 data.path=.", "an image tree there is read with data.dataset=images"),
    ("data.dataset=cifar100 data.path=.", "expected cifar-100-python/, cifar-100-python.tar.gz"),
    (f"data.path={__file__}", "is a file, expected the folder it is in"),
]


@pytest.mark.parametrize(("line", "expected"), WRONG, ids=[line[:50] for line, _ in WRONG])
def test_is_refused_in_one_line(line: str, expected: str, here: Path, refusal) -> None:
    assert expected in refusal(line.split(" "))
    assert not (here / "logs").exists()


BAD_FILES = {
    "a list": ("- 1\n", "expected a mapping"),
    "not YAML": ("a: [", "not valid YAML"),
    "a key twice": ("seed: 1\nseed: 2\n", "seed is given twice"),
    "a key twice, nested and dotted": ("optimizer.eps: 1\noptimizer: {eps: 1}\n", "given twice"),
    "unknown key": ("epoch: 1\n", "did you mean epochs?"),
    "wrong type": ("epochs: 1.5\n", "expected an integer"),
    "a key below a plain value": ("epochs: {first: 1}\n", "epochs is a plain value"),
    "code": ("!!python/object/apply:os.system ['true']\n", "not valid YAML"),
    "bytes": ("\x00", "not valid YAML"),
    "deep": ("a: " * 1 + "{a: " * 50 + "1" + "}" * 50, "nested too deep"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_config_file_is_refused_in_one_line(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, expected = BAD_FILES[case]
    (here / "bad.yaml").write_text(content)
    with pytest.raises(SystemExit) as end:
        main(arguments=["configs", "--config", "bad.yaml"])
    errors = capsys.readouterr().err
    assert end.value.code == 2
    assert expected in errors and "bad.yaml" in errors
    assert errors.count("\n") == 1


KEYS = st.sampled_from(["epochs", "data.path", "optimizer.betas", "compile", "model_size", "schedule", "augment.ops"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(st.text() | st.builds("{}={}".format, KEYS | st.text(), st.text()), max_size=4))
def test_no_text_makes_a_traceback(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`configs` resolves and shows what was given, without training."""
    with pytest.raises(SystemExit) as end:
        main(arguments=["configs", "--", *arguments])
    errors = capsys.readouterr().err
    assert end.value.code in (0, 2)
    assert errors.count("\n") == (1 if end.value.code else 0)


@pytest.mark.parametrize("line", ["--help", "-h", "--version", "train --help", "resume --help", "configs --help"])
def test_help_is_no_error(line: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments=line.split())
    assert end.value.code == 0
    assert "convmixer-lab" in (out := capsys.readouterr().out) or "Usage:" in out


def test_a_process_says_it_too(command) -> None:
    ended = command("epochs=ten", status=2)
    assert ended.stderr == "error: command line: epochs=ten is wrong, expected an integer from 1 up to 1000000\n"
    assert ended.stdout == ""
