"""Every figure against a library that computes it too."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from convmixer.trained.classification_metrics import (
    Z_95,
    calibration,
    confusion_matrix,
    score,
    wilson_interval,
)
from convmixer.training.metrics import top_5


@st.composite
def outputs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `[n, classes]`, all different, and labels `[n]`; from timid to very sure."""
    n, classes = draw(st.integers(1, 200)), draw(st.integers(2, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = random.normal(0, draw(st.floats(0.1, 30)), (n, classes))
    return torch.tensor(logits), torch.tensor(random.integers(0, classes, n))


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval(counts: tuple[int, int]) -> None:
    correct, n = counts
    low, high = wilson_interval(correct, n)
    expected = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert 0 <= low <= correct / n <= high <= 1


def test_interval_of_ten_thousand_images() -> None:
    """What 84.09 % on CIFAR-10's test images means: plus or minus 0.7."""
    assert wilson_interval(8409, 10_000) == pytest.approx((0.8336, 0.8479), abs=1e-4)
    assert pytest.approx(norm.ppf(0.975), abs=1e-6) == Z_95


def test_top_5_as_scikit_learn_counts_it() -> None:
    random = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(300, 10, generator=random), torch.randint(10, (300,), generator=random)
    expected = reference.top_k_accuracy_score(labels, logits, k=5, normalize=False)
    assert top_5(logits, labels).sum() == score(logits, labels, {}).in_top_5.sum() == expected


@given(outputs())
def test_confusion_matrix(found) -> None:
    logits, labels = found
    n = logits.shape[1]
    expected = reference.confusion_matrix(labels, logits.argmax(1), labels=range(n))
    assert confusion_matrix(logits.argmax(1), labels, n).tolist() == expected.tolist()


@given(outputs(), st.integers(2, 30))
def test_calibration_is_as_defined(found, bins: int) -> None:
    logits, labels = found
    ours = calibration(logits, labels, bins)
    confidence, predicted = logits.softmax(1).max(1)
    right, error = (predicted == labels).double(), 0.0
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        assert ours.images[i] == inside.sum()
        if inside.any():
            error += inside.double().mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert ours.error == pytest.approx(float(error), abs=1e-9)


def test_calibration_curve() -> None:
    random = torch.Generator().manual_seed(0)
    logits, labels = 2 * torch.randn(500, 4, generator=random), torch.randint(4, (500,), generator=random)
    confidence, predicted = logits.double().softmax(1).max(1)
    accuracy, mean = calibration_curve((predicted == labels).numpy(), confidence.numpy(), n_bins=15)
    ours = calibration(logits, labels)
    filled = ours.images > 0
    assert ours.accuracy[filled].numpy() == pytest.approx(accuracy)
    assert ours.confidence[filled].numpy() == pytest.approx(mean)


def test_a_sure_network_that_is_wrong_half_the_time_is_off_by_half() -> None:
    logits = torch.tensor([[100.0, 0.0]]).repeat(10, 1)
    assert calibration(logits, torch.tensor([0, 1] * 5)).error == pytest.approx(0.5)
    assert calibration(logits, torch.zeros(10, dtype=torch.int64)).error == pytest.approx(0)
