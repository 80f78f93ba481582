"""Multi-level sub-bands and their weights against PyWavelets and NumPy."""

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.objectives import Composed
from diffusion4k.objectives.transforms import Bands, Identity, Wavelet
from tests.objectives.draws import EARLY, LATE, draw


def by_hand(velocity, latents, noise, sigma, wavelet, low, detail) -> list[float]:
    """Both transforms, of prediction and target, with PyWavelets' own levels."""
    losses = []
    for v, target in zip(velocity.numpy(), (noise - latents).numpy(), strict=True):
        total = 0.0
        for a, b in zip(v, target, strict=True):
            ours, theirs = (
                pywt.wavedec2(image, wavelet, mode="periodization", level=len(detail))
                for image in (a, b)
            )
            total += low * ((ours[0] - theirs[0]) ** 2).sum()
            # PyWavelets has the coarsest level first.
            for weights, one, two in zip(detail[::-1], ours[1:], theirs[1:], strict=True):
                for weight, p, q in zip(weights, one, two, strict=True):
                    total += weight * ((p - q) ** 2).sum()
        losses.append(total / v.size)
    return losses


@given(
    seed=st.integers(0, 2**31),
    wavelet=st.sampled_from(["haar", "db2", "sym4", "bior2.2"]),
    low=st.floats(0, 4),
    detail=st.lists(
        st.tuples(st.floats(0.1, 4), st.floats(0, 4), st.floats(0, 4)), min_size=1, max_size=3
    ),
)
@settings(max_examples=30)
@pytest.mark.filterwarnings("ignore:Level value:UserWarning")
def test_levels_and_weights_as_by_pywavelets(seed, wavelet, low, detail) -> None:
    batch = draw(seed, shape=(2, 2, 8, 16))
    bands = (Bands(low, tuple(detail)),)
    loss = Composed(transform=Wavelet(wavelet, len(detail), bands))(**batch)
    expected = by_hand(**batch, wavelet=wavelet, low=low, detail=detail)
    np.testing.assert_allclose(loss, expected, rtol=1e-9)


def test_every_coefficient_is_in_one_band() -> None:
    error = torch.randn(2, 3, 16, 8, dtype=torch.float64)
    for levels in (1, 2, 3):
        groups = Wavelet("haar", levels)(error)
        assert sum(group.shape[1] for group in groups) == 3 * levels + 1
        assert sum(group[0].numel() for group in groups) == error[0].numel()
        squares = sum(group.square().sum() for group in groups)
        torch.testing.assert_close(squares, error.square().sum())


@given(sigma=st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_weights_are_linear_in_sigma(sigma) -> None:
    middle = Bands(4, ((1, 1, 1), (1, 3, 1)), sigma=0.5)
    bands = (EARLY, middle, LATE)
    found = Wavelet("haar", 2, bands).weights(torch.tensor(sigma, dtype=torch.float64))
    knots = [each.sigma for each in bands]
    table = np.array([[*each.detail[0], each.low, *each.detail[1]] for each in bands])
    expected = np.stack([np.interp(sigma, knots, column) for column in table.T], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_weights_by_sigma_weigh_each_picture() -> None:
    """At a table's own noise levels the loss is that of its rows."""
    batch = draw(0, shape=(2, 2, 8, 8))
    batch["sigma"] = torch.tensor([EARLY.sigma, LATE.sigma], dtype=torch.float64)
    together = Composed(transform=Wavelet("haar", 2, (EARLY, LATE)))(**batch)
    for i, bands in enumerate((EARLY, LATE)):
        alone = Composed(transform=Wavelet("haar", 2, (bands,)))(**batch)
        torch.testing.assert_close(together[i], alone[i])


def test_one_row_means_every_noise_level() -> None:
    weights = Wavelet("haar", 2, (LATE,)).weights(torch.tensor([0.0, 1.0]))
    assert weights.shape == (1, 7)
    assert Identity().weights(torch.tensor([0.5])).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Wavelet("nope"), "unknown wavelet 'nope'"),
        (lambda: Wavelet(levels=0), r"levels must lie in \[1, 10\], got 0"),
        (lambda: Wavelet(levels=2, bands=(Bands(),)), "detail must have levels=2 entries"),
        (lambda: Wavelet(levels=2, bands=(LATE, EARLY)), "sigma must rise"),
        (lambda: Wavelet(levels=2, bands=(LATE, LATE)), "sigma must rise"),
        (lambda: Bands(0, ((0, 0, 0),)), "not all 0"),
        (lambda: Bands(-1), "not negative"),
        (lambda: Bands(1, ((1, 1),)), "three a level"),  # type: ignore[arg-type]
        (lambda: Bands(1, ((1, 1, float("nan")),)), "finite"),
        (lambda: Bands(sigma=2), r"sigma must lie in \[0, 1\], got 2"),
    ],
)
def test_bad_arguments(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="multiples of 4 for 2 levels, got \\(6, 8\\)"):
        Wavelet(levels=2)(torch.zeros(1, 1, 6, 8))
