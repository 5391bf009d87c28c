from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffnas.data.augment import Augmentation, _compiled_kernels, augment, normalize

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SEARCH = Augmentation(pad=2, flip=True)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def slow_twin(images: Tensor, how: Augmentation, mean, std, generator: torch.Generator) -> Tensor:
    """One picture and one pixel at a time, drawing in the same order as the fast way."""
    B, C, H, W = images.shape

    def draw(below: int) -> list[int]:
        return torch.randint(below, (B,), generator=generator).tolist()

    moves = how.pad or how.flip
    tops = draw(2 * how.pad + 1) if moves else [0] * B
    lefts = draw(2 * how.pad + 1) if moves else [0] * B
    flips = draw(2) if how.flip else [0] * B
    rows = draw(H) if how.cutout else [0] * B
    columns = draw(W) if how.cutout else [0] * B
    result = torch.zeros(B, C, H, W)
    for b in range(B):
        for y in range(H):
            for x in range(W):
                in_rows = rows[b] - how.cutout // 2 <= y < rows[b] - how.cutout // 2 + how.cutout
                in_columns = columns[b] - how.cutout // 2 <= x < columns[b] - how.cutout // 2 + how.cutout
                if in_rows and in_columns:
                    continue
                # Mirroring the padded picture before the crop is mirroring after it, with the crop's place mirrored.
                source_y, padded_x = y + tops[b] - how.pad, x + lefts[b] - how.pad
                source_x = W - 1 - padded_x if flips[b] else padded_x
                inside = 0 <= source_y < H and 0 <= source_x < W
                for c in range(C):
                    raw = int(images[b, c, source_y, source_x]) if inside else 0
                    result[b, c, y, x] = (raw / 255 - mean[c]) / std[c]
    return result


def some_images(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 11),
    width=st.integers(8, 11),
    pad=st.integers(0, 4),
    flip=st.booleans(),
    cutout=st.integers(0, 9),
    seed=st.integers(0, 99),
    channels_last=st.booleans(),
    kernels=st.sampled_from(["auto", "stock"]),
)
def test_augment_agrees_with_its_slow_twin_pixel_for_pixel(
    channels, height, width, pad, flip, cutout, seed, channels_last, kernels
):
    images = some_images(3, channels, height, width)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    how = Augmentation(pad=pad, flip=flip, cutout=cutout)
    mean, std = MEAN[:channels], STD[:channels]
    fast = augment(images, how, mean, std, torch.Generator().manual_seed(seed), kernels=kernels)
    slow = slow_twin(images, how, mean, std, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_result_is_float32_with_the_channels_last_in_memory(channels):
    images = some_images(4, channels, 8, 9)
    for result in (
        normalize(images, MEAN[:channels], STD[:channels]),
        augment(images, Augmentation(pad=1, flip=True, cutout=3), MEAN[:channels], STD[:channels], torch.Generator()),
    ):
        assert result.dtype == torch.float32
        assert result.shape == images.shape
        assert result.is_contiguous(memory_format=torch.channels_last)


def test_the_given_pictures_are_left_as_they_were():
    images = some_images(4, 3, 8, 8)
    before = images.clone()
    augment(images, Augmentation(pad=2, flip=True, cutout=4), MEAN, STD, torch.Generator().manual_seed(0))
    assert torch.equal(images, before)


def test_the_generator_alone_decides():
    images, how = some_images(8, 3, 8, 8), Augmentation(pad=2, flip=True, cutout=4)

    def at(seed: int, global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        return augment(images, how, MEAN, STD, torch.Generator().manual_seed(seed))

    assert torch.equal(at(3, 0), at(3, 1))
    assert not torch.equal(at(3, 0), at(4, 0))


def test_no_augmentation_is_normalization_and_draws_nothing():
    images, generator = some_images(2, 3, 8, 8), torch.Generator().manual_seed(5)
    before = generator.get_state()
    assert torch.equal(augment(images, Augmentation(), MEAN, STD, generator), normalize(images, MEAN, STD))
    assert torch.equal(generator.get_state(), before)


def test_every_crop_and_both_mirrors_come_up():
    image = some_images(1, 1, 8, 8)
    how = Augmentation(pad=1, flip=True)
    many = augment(image.expand(600, -1, -1, -1), how, [0.0], [1.0], torch.Generator().manual_seed(0))
    assert len(torch.unique(many, dim=0)) == 3 * 3 * 2


def test_cutout_blanks_a_quarter_of_the_square_in_a_corner_and_all_of_it_inside():
    white = torch.full((2000, 1, 8, 8), 255, dtype=torch.uint8)
    result = augment(white, Augmentation(cutout=4), [0.0], [1.0], torch.Generator().manual_seed(0))
    blanked = (result == 0).sum((1, 2, 3))
    assert int(blanked.min()) == 4
    assert int(blanked.max()) == 16
    # Every pixel is the center equally often, so a corner pixel is blanked by the few squares that reach it.
    share = (result == 0).float().mean(0)[0]
    assert share[0, 0].item() == pytest.approx(9 / 64, abs=0.04)
    assert share[4, 4].item() == pytest.approx(16 / 64, abs=0.04)


@pytest.mark.parametrize("values", [{"pad": -1}, {"cutout": -2}])
def test_a_negative_setting_is_refused(values):
    with pytest.raises(ValueError, match="must be a whole number from 0 to"):
        Augmentation(**values)


@pytest.mark.parametrize("how", [SEARCH, replace(SEARCH, cutout=5), Augmentation(flip=True), Augmentation(cutout=4)])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_compiled_kernels_give_the_bits_of_the_torch_operations(how, channels):
    pytest.importorskip("numba")
    images = some_images(16, channels, 9, 12)
    both = [
        augment(images, how, (0.1, 0.5, 0.9)[:channels], (0.2, 0.3, 0.7)[:channels], seeded(), kernels=kernels)
        for kernels in ("auto", "stock")
    ]
    assert torch.equal(*both)
    assert both[0].stride() == both[1].stride()


def test_without_numba_augment_gives_the_same(monkeypatch):
    images = some_images(4, 3, 8, 8)
    before = augment(images, SEARCH, MEAN, STD, seeded())
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "diffnas.data.kernels", raising=False)
    monkeypatch.delattr("diffnas.data.kernels", raising=False)
    monkeypatch.setattr("diffnas.data.augment._compiled_kernels", cache(_compiled_kernels.__wrapped__))
    assert torch.equal(augment(images, SEARCH, MEAN, STD, seeded()), before)


def test_unknown_kernels_are_refused():
    with pytest.raises(ValueError, match="unknown kernels 'fastest'"):
        augment(some_images(1, 3, 8, 8), SEARCH, MEAN, STD, seeded(), kernels="fastest")
