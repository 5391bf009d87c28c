"""Pretexts: their targets, their losses against golden values, and what they can learn."""

import pytest
import torch
from torch import Tensor, nn

from diffnas.components.pretext import (
    Pretext,
    barlow,
    barlow_twins,
    nt_xent,
    reconstruction,
    rotation,
    rotation_of,
    simclr,
    turned,
)
from diffnas.components.views import blanked, two_views
from diffnas.task import classification

VIEWS = torch.tensor([(1, 0), (0.6, 0.8), (0, 1), (0.8, 0.6), (0, 1), (1, 1)])
PLACES = torch.tensor([3, 4, 5, 0, 1, 2])
A = torch.tensor([[1.0, 2, 0], [0, 1, 1], [2, 0, 3], [1, 1, 0]])
B = torch.tensor([[1.0, 1, 0], [0, 2, 1], [2, 0, 2], [0, 1, 1]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("temperature", "loss"), [(0.5, 1.5576609), (0.1, 2.4196922)])
def test_the_loss_of_simclr_is_the_golden_one_and_symmetric_in_the_views(temperature: float, loss: float):
    assert float(nt_xent(VIEWS, PLACES, temperature=temperature)) == pytest.approx(loss, abs=1e-6)
    swapped = torch.cat([VIEWS[3:], VIEWS[:3]])
    assert float(nt_xent(swapped, PLACES, temperature=temperature)) == pytest.approx(loss, abs=1e-6)


def test_the_loss_of_barlow_twins_is_the_golden_one_and_symmetric_in_the_views():
    both = torch.cat([A, B])
    assert float(barlow_twins(both, PLACES, weight=0.0)) == pytest.approx(0.2896162, abs=1e-5)
    assert float(barlow_twins(both, PLACES)) == pytest.approx(0.3061692, abs=1e-5)
    assert float(barlow_twins(torch.cat([B, A]), PLACES)) == pytest.approx(0.3061692, abs=1e-5)


def test_the_loss_of_barlow_twins_is_zero_if_views_correlate_as_the_identity():
    own = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert float(barlow_twins(torch.cat([own, own]), PLACES)) == pytest.approx(0.0, abs=1e-8)


def test_a_label_tells_the_turns_of_its_picture_and_four_turns_are_none():
    pictures = torch.rand(50, 3, 8, 8, generator=seeded())
    shown, labels = turned(pictures, seeded())
    assert set(labels.tolist()) == {0, 1, 2, 3}
    for picture, found, label in zip(pictures, shown, labels.tolist(), strict=True):
        assert torch.equal(found, picture.rot90(label, (1, 2)))
        assert torch.equal(found.rot90(4 - label, (1, 2)), picture)


def test_pictures_that_are_no_squares_are_turned_in_their_middle():
    pictures = torch.rand(2, 1, 8, 12, generator=seeded())
    shown, labels = turned(pictures, seeded(), turns=4)
    assert shown.shape == (8, 1, 8, 8)
    assert torch.equal(shown[:2], pictures[..., 2:10])
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert rotation_of(4).batch(pictures, seeded())[0].shape == (8, 1, 8, 8)


def learned(pictures: Tensor) -> float:
    """How often a small net is right after 30 steps of rotation, on new turns of the pictures."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    net.append(rotation.head(128, 1))
    moved = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step in range(30):
        shown, labels = rotation.batch(pictures[:96], seeded(step))
        moved.zero_grad()
        rotation.task.loss(net(shown), labels).backward()
        moved.step()
    right = [
        (net(shown).argmax(1) == labels) for shown, labels in (turned(pictures[96:], seeded(99 + n)) for n in range(9))
    ]
    return float(torch.cat(right).float().mean())


def test_rotation_is_learned_from_pictures_that_have_a_top_and_not_from_noise():
    noise = torch.randn(192, 1, 8, 8, generator=seeded())
    bright = noise.clone()
    bright[:, :, :4] += 2
    assert learned(bright) > 0.95
    assert learned(noise) == pytest.approx(0.25, abs=0.06)


def test_two_views_differ_and_follow_from_the_seed():
    pictures = torch.rand(6, 3, 12, 12, generator=seeded())
    found, again = (two_views(pictures, seeded(1)) for _ in range(2))
    assert torch.equal(found, again)
    assert found.shape == (12, 3, 12, 12)
    assert bool(found.isfinite().all())
    assert not torch.equal(found[:6], found[6:])


def test_a_quarter_of_the_patches_is_blanked():
    found = blanked(torch.ones(200, 1, 10, 10), seeded())
    assert float(found[:, :, :8, :8].mean()) == pytest.approx(0.75, abs=0.03)
    patches = found[:, 0, :8, :8].unflatten(1, (2, 4)).unflatten(3, (2, 4)).mean(dim=(2, 4))
    assert set(patches.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("pretext", [rotation, simclr, barlow, reconstruction], ids=lambda each: each.name)
def test_a_pretext_gives_a_finite_loss_and_a_gradient(pretext: Pretext):
    torch.manual_seed(0)
    pictures = torch.rand(16, 3, 8, 8, generator=seeded())
    shown, targets = pretext.batch(pictures, seeded())
    head = pretext.head(3, 3)
    features = shown if pretext.of_map else shown.mean(dim=(2, 3))
    outputs = head(features)
    loss = pretext.task.loss(outputs, targets)
    loss.backward()
    assert bool(loss.isfinite())
    assert any(bool(weight.grad.any()) for weight in head.parameters())
    for metric in pretext.task.metrics.values():
        assert 0 <= float(metric.sum(outputs.detach(), targets)) <= 2 * len(shown)


def test_a_pretext_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="a head of the pretext is a function of"):
        Pretext(name="mine", batch=turned, head=lambda: nn.Linear(1, 4), task=classification)
    with pytest.raises(ValueError, match="1 random turn or in all 4, not in 3"):
        rotation_of(3)
