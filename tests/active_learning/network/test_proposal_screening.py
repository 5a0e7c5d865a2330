from __future__ import annotations

import math

import pytest
import torch

from active_learning.network.proposal_screening import log_odds, noise, screened


def test_log_odds_of_the_best_class():
    rows = torch.tensor([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert log_odds(rows).tolist() == pytest.approx([math.log(0.3 / 0.7), math.log(1e-12), 13.8], abs=0.1)
    assert log_odds(rows.expand(4, 3, 3)).shape == (4, 3)


def test_noise_is_the_root_mean_square():
    assert noise(torch.tensor([1.0, 2.0]), torch.tensor([[4.0, 2.0], [1.0, 6.0]])) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("threshold", "reach", "kept"),
    [
        pytest.param(0.5, 0.0, [2, 3], id="no-noise"),
        pytest.param(0.5, 1.5, [1, 2, 3], id="noise"),
        pytest.param(0.9, 1.0, [3], id="high-threshold"),
        pytest.param(0.9, math.nan, [0, 1, 2, 3], id="unknown-noise"),
        pytest.param(0.0, 0.0, [0, 1, 2, 3], id="everything-counts"),
        pytest.param(1.0, 5.0, [], id="nothing-counts"),
    ],
)
def test_what_is_kept(threshold, reach, kept):
    assert screened(torch.tensor([-4.0, -1.0, 0.5, 2.0]), threshold, reach).tolist() == kept


def test_what_is_not_a_number_is_kept():
    assert screened(torch.tensor([math.nan, -9.0]), 0.5, 1.0).tolist() == [0]
