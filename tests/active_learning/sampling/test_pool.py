from __future__ import annotations

import random
from collections.abc import Callable

from active_learning.sampling.pool import Pool
from active_learning.sampling.pool_record import PoolRecord

NAMES = [f"{number:02d}.png" for number in range(20)]


def test_chance_orders_equal_images_the_same_way_each_time_and_changes_no_other_choice(
    make_record: Callable[..., PoolRecord],
):
    records = {name: make_record(name, [0.9]) for name in NAMES}
    pool = Pool(NAMES, records, "mean", 5, random.Random(3))
    orders = [pool.shuffled, pool.by_certainty(), pool.by_value(lambda _: 0.0), pool.by_objects(lambda _: 0.0)]
    assert orders == [orders[0]] * 4
    assert sorted(orders[0]) == NAMES != orders[0]
    assert pool.rng.random() == random.Random(3).random()
