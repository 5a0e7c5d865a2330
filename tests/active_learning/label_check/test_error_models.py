"""Errors of a person and of a network, made at known rates, are told apart."""

from __future__ import annotations

import numpy as np
import pytest

from active_learning.label_check.error_models import Prior, persons_blame, swapped_labels, unusual_fits

COUNT, CLASSES = 600, 4
SEEDS = range(3)


def labelled(rng: np.random.Generator, concentration: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, K) of a network that is right as often as it says, and right labels."""
    probabilities = rng.dirichlet(np.full(CLASSES, concentration), COUNT)
    labels = (probabilities.cumsum(axis=1) > rng.random((COUNT, 1))).argmax(axis=1)
    return probabilities, labels


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_swapped_labels_are_the_likeliest(seed: int, share: float):
    rng = np.random.default_rng(seed)
    probabilities, labels = labelled(rng, concentration=0.05)
    swapped = rng.choice(COUNT, int(share * COUNT), replace=False)
    right = labels[swapped].copy()
    labels[swapped] = (right + rng.integers(1, CLASSES, len(swapped))) % CLASSES
    wrong, instead = swapped_labels(probabilities, labels)
    clear = probabilities[swapped].max(axis=1) > 0.98
    assert np.median(wrong[swapped[clear]]) > 0.8
    assert np.median(np.delete(wrong, swapped)) < 0.01
    assert (instead[swapped] == right)[clear].mean() > 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_that_is_often_unsure_blames_no_label(seed: int):
    probabilities, labels = labelled(np.random.default_rng(seed), concentration=1.0)
    wrong, _ = swapped_labels(probabilities, labels)
    assert (wrong > 0.9).mean() < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_the_surer_the_network_the_more_a_contradiction_is_the_persons(seed: int):
    rng = np.random.default_rng(seed)
    sureness = rng.uniform(-3, 3, COUNT)
    contradicted = rng.random(COUNT) < 1 / (1 + np.exp(2 + 2 * sureness))  # the network's errors
    persons = rng.choice(COUNT, 30, replace=False)
    contradicted[persons] = True
    features = np.column_stack([np.ones(COUNT), sureness])
    blame, rate = persons_blame(contradicted, features, Prior(np.array([-1.0, -1.0]), np.array([0.1, 0.1])))
    assert (blame[~contradicted] == 0).all()
    assert blame[contradicted & (sureness > 1.5)].min() > 0.7
    assert blame[contradicted & (sureness < -1.5)].max() < 0.5
    assert rate[sureness > 1.5].max() < 0.05 < rate[sureness < -1.5].min()


@pytest.mark.parametrize("seed", SEEDS)
def test_poor_outlines_are_those_that_fit_worse_than_usual(seed: int):
    rng = np.random.default_rng(seed)
    small = rng.random(COUNT) < 0.5  # outlines of small objects fit worse, which is no one's fault
    ious = 1 / (1 + np.exp(-rng.normal(np.where(small, 1.2, 2.5), 0.25)))
    poor = rng.choice(np.flatnonzero(~small), 20, replace=False)
    ious[poor] = rng.uniform(0.3, 0.6, len(poor))
    blame, usual = unusual_fits(ious, small[:, None].astype(float))
    assert np.median(blame[poor]) > 0.9
    assert (np.delete(blame, poor) > 0.5).mean() < 0.02
    assert usual[small].mean() == pytest.approx(0.77, abs=0.03)
    assert usual[~small].mean() == pytest.approx(0.92, abs=0.02)
