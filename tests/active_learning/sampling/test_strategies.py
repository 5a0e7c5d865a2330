from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from active_learning.sampling.certainty import MODES
from active_learning.sampling.pool import Pool
from active_learning.sampling.strategies import SHORTLIST, STRATEGIES, choose_images

CERTAINTIES = {"a": [0.5], "b": [0.6], "high": [0.9], "low": [0.1], "nothing": []}


@pytest.fixture
def pool_of(make_record):
    """A pool of records; keyword arguments replace what it holds."""

    def make(*records, count: int = 2, **changes) -> Pool:
        by_name = {one.name: one for one in sorted(records, key=lambda one: one.name)}
        values = {"mode": "mean", "rng": random.Random(0), "class_counts": (1, 1), **changes}
        return Pool(names=list(by_name), records=by_name, count=count, **values)

    return make


@pytest.mark.parametrize(
    ("strategy", "count", "without_detections", "chosen"),
    [
        pytest.param("uncertainty", 1, "skip", ["low"], id="lowest"),
        pytest.param("uncertainty", 2, "choose", ["nothing", "low"], id="nothing-detected-counts-as-0"),
        pytest.param("uncertainty", 9, "skip", ["low", "a", "b", "high"], id="small-pool-is-taken-whole"),
        pytest.param("certainty", 1, "skip", ["high"], id="highest"),
        pytest.param("certainty", 9, "choose", ["high", "b", "a", "low", "nothing"], id="nothing-detected-comes-last"),
        pytest.param("uncertainty", 0, "skip", [], id="none-wanted"),
    ],
)
def test_published_strategies(pool_of, make_record, strategy, count, without_detections, chosen):
    pool = pool_of(*(make_record(name, values) for name, values in CERTAINTIES.items()), count=count)
    assert choose_images(strategy, pool, images_without_detections=without_detections).names == chosen


CLEAR, UNDECIDED = [[0.98, 0.01]] * 2, [[0.49, 0.48]] * 2
DISAGREE = [[0.9, 0.05], [0.05, 0.9]]
BROAD = [[0.5, 0.25], [0.52, 0.23]]  # the highest entropy of the three, but one class leads


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        ("entropy", ["broad", "disagree", "undecided", "clear"]),
        ("margin", ["disagree", "undecided", "broad", "clear"]),
        ("bald", ["disagree", "broad"]),
    ],
)
def test_uncertain_classes(pool_of, make_record, strategy, order):
    members = {"clear": CLEAR, "undecided": UNDECIDED, "disagree": DISAGREE, "broad": BROAD}
    pool = pool_of(*(make_record(name, [0.5], [rows]) for name, rows in members.items()), count=4)
    assert choose_images(strategy, pool).names[: len(order)] == order


@pytest.mark.parametrize(("mode", "first"), [("mean", "doubtful"), ("min", "mixed"), ("max", "doubtful")])
@pytest.mark.parametrize("strategy", ["entropy", "margin"])
def test_the_mode_counts_for_class_uncertainty_too(pool_of, make_record, strategy, mode, first):
    mixed = make_record("mixed", [0.5, 0.5], [[[0.5, 0.5]], CLEAR])
    doubtful = make_record("doubtful", [0.5, 0.5], [[[0.6, 0.4]]] * 2)
    assert choose_images(strategy, pool_of(mixed, doubtful, mode=mode)).names[0] == first


def test_core_set_goes_away_from_the_training_set(pool_of, make_record):
    places = {"near": 0.1, "far": 9.0, "far too": 8.9, "between": 4.0}
    records = [make_record(name, [0.5], features=[x, 0.0]) for name, x in places.items()]
    training = np.array([[0.0, 0.0]], dtype=np.float32)
    assert choose_images("coreset", pool_of(*records, training_features=training)).names == ["far", "between"]


def test_hybrid_spreads_over_a_shortlist_of_the_uncertain(pool_of, make_record):
    cluster = [make_record(f"c{index}", [0.01 * index], features=[0.0, 0.0]) for index in range(6)]
    apart = make_record("apart", [0.07], features=[5.0, 0.0])
    surer = [make_record(f"s{index}", [0.9], features=[9.0 + index, 9.0]) for index in range(5)]
    assert SHORTLIST * 2 == 8
    for seed in range(20):
        chosen = choose_images("hybrid", pool_of(*cluster, apart, *surer, rng=random.Random(seed))).names
        assert chosen[0] == "c0"
        assert chosen[1] == "apart" or chosen[1].startswith("s")


def test_class_balanced_favours_what_is_rare_and_balances_on(pool_of, make_record):
    first, second = [[0.95, 0.0]] * 10, [[0.0, 0.95]] * 10
    records = [make_record(f"common{index}", [0.1], [first]) for index in range(3)]
    records += [make_record(f"rare{index}", [0.9], [second]) for index in range(3)]
    pool = pool_of(*records, make_record("nothing"), count=7, class_counts=(4, 2))
    chosen = choose_images("class_balanced", pool, images_without_detections="choose").names
    kinds = [name.rstrip("012") for name in chosen]
    assert kinds == ["rare", "rare", "common", "rare", "common", "common", "nothing"]


def test_class_balanced_without_training_objects(pool_of, make_record):
    pool = pool_of(make_record("a", [0.9]), make_record("b", [0.1]), class_counts=(0, 0))
    assert choose_images("class_balanced", pool).names == ["b", "a"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_near_duplicates_are_held_back(pool_of, make_record, strategy):
    records = [make_record(f"{index}", [0.5], features=[x, 1.0]) for index, x in enumerate([0, 0.01, 3, 6, 6.01, 9])]
    training = np.array([[9.0, 1.0]], dtype=np.float32)
    pool = pool_of(*records, count=6, training_features=training)
    chosen = choose_images(strategy, pool, min_distance=0.1)
    assert len(chosen.names) == 3
    assert {"2", "5"} & set(chosen.names) == {"2"}
    assert len({"0", "1"} & set(chosen.names)) == len({"3", "4"} & set(chosen.names)) == 1
    assert len(chosen.held_back) == 3
    assert len(choose_images(strategy, pool).names) == 6


def test_random_heeds_names_and_seed_alone(pool_of, make_record):
    names = [f"{index:03d}" for index in range(50)]
    blind = [Pool(names, {}, "mean", 10, random.Random(seed)) for seed in (1, 2)]
    seeing = pool_of(*(make_record(name, [0.5]) for name in names), count=10, rng=random.Random(1))
    chosen = [choose_images("random", pool).names for pool in (blind[0], seeing, blind[1])]
    assert len(set(chosen[0])) == 10
    assert chosen[0] == chosen[1] == random.Random(1).sample(names, 10)
    assert chosen[0] != chosen[2]


@pytest.mark.parametrize("certainties", [[], [0.5]], ids=["nothing detected", "the same detected"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_chance_decides_between_equal_images_and_not_their_names(pool_of, make_record, strategy, certainties):
    """Names follow the camera: the first of them show one end of the field."""
    records = [make_record(f"{index:02d}", certainties, features=[1.0, 2.0]) for index in range(20)]

    def chosen(seed: int) -> list[str]:
        pool = pool_of(*records, count=6, rng=random.Random(seed), training_features=np.zeros((1, 2), np.float32))
        return choose_images(strategy, pool, images_without_detections="choose").names

    every = [chosen(seed) for seed in range(6)]
    assert len({tuple(sorted(names)) for names in every}) == 6
    assert every[0] == chosen(0)


CLASSES = st.integers(1, 3)
MEMBERS = st.lists(st.floats(0.01, 0.9), min_size=1, max_size=3)  # how sure each of them is of the first class


def members_of(first_class: list[float], classes: int) -> list[list[float]]:
    return [[p, *[(1 - p) / (2 * classes)] * (classes - 1)] for p in first_class]


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(
    classes=CLASSES,
    images=st.dictionaries(st.text(max_size=4), st.lists(MEMBERS, max_size=3), max_size=12),
    count=st.integers(0, 15),
    mode=st.sampled_from(sorted(MODES)),
    without_detections=st.sampled_from(["skip", "choose"]),
)
@example(classes=2, images={}, count=3, mode="mean", without_detections="skip").via("empty pool")
@example(classes=1, images={"a": [[0.5]], "b": [[0.9, 0.2]]}, count=1, mode="min", without_detections="skip").via("K=1")
@example(classes=2, images={"a": [], "b": []}, count=2, mode="max", without_detections="choose").via("no object at all")
def test_what_holds_for_every_strategy(make_record, strategy, classes, images, count, mode, without_detections):
    """Distinct names of the pool, as many as wanted or as there are, the same for the same seed."""
    records = {
        name: make_record(name, [0.5] * len(objects), [members_of(p, classes) for p in objects], [len(name), 1])
        for name, objects in sorted(images.items())
    }

    def chosen() -> list[str]:
        pool = Pool(list(records), records, mode, count, random.Random(7), class_counts=(1,) * classes)
        return choose_images(strategy, pool, images_without_detections=without_detections).names

    names = chosen()
    skips = STRATEGIES[strategy].needs_forward_passes and without_detections == "skip"
    choosable = {name for name, objects in images.items() if objects or not skips}
    assert len(names) == len(set(names)) == min(count, len(choosable))
    assert set(names) <= choosable
    assert names == chosen()


@pytest.mark.parametrize(
    ("strategy", "without_detections", "words"),
    [("best", "skip", "strategy 'best' is not one of uncertainty"), ("random", "keep", "'keep' is not skip or choose")],
)
def test_unknown_words(pool_of, strategy, without_detections, words):
    with pytest.raises(ValueError, match=words):
        choose_images(strategy, pool_of(), images_without_detections=without_detections)


def test_the_table_needs_no_pytorch():
    """The settings take their choices from it, and --help answers at once."""
    script = "import sys; import active_learning.settings, active_learning.sampling; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("strategy", ["uncertainty", "entropy", "margin", "bald"])
def test_images_without_detections_come_first_where_they_are_to_be_chosen(pool_of, make_record, strategy):
    pool = pool_of(make_record("a", [0.2], [[[0.5, 0.4]] * 10]), make_record("b", []), make_record("c", []))
    assert choose_images(strategy, pool, images_without_detections="choose").names == ["b", "c"]
