"""Which parameters decay."""

from convmixer.model.layers import conv_mixer
from convmixer.training.optimizers import adamw, parameter_groups, sgd


def test_norms_and_biases_do_not_decay_unless_asked() -> None:
    model = conv_mixer(8, 2, 3, 2)
    decayed, exempt = parameter_groups(model, 0.1, decay_norms_and_biases=False)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rpartition(".")[2] for p in decayed["params"]} == {"weight"}
    assert all(".norm" in names[id(p)] or names[id(p)].endswith("bias") for p in exempt["params"])
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(exempt["params"]) == len(names)
    (everything,) = parameter_groups(model, 0.1, decay_norms_and_biases=True)
    assert len(everything["params"]) == len(names)


def test_adamw_is_fused_and_sgd_has_nesterov_momentum() -> None:
    groups = parameter_groups(conv_mixer(8, 1, 3, 2), 0.1, False)
    assert adamw(groups, 0.1, [0.9, 0.99], 1e-8).defaults["fused"]
    assert sgd(groups, 0.1, 0.9).defaults["nesterov"]
    assert not sgd(groups, 0.1, 0.0).defaults["nesterov"]
