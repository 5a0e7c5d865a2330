"""Results as lines to copy, and compared with what was expected."""

from __future__ import annotations

import logging
import pprint
import sys
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

__all__ = ["flatten_results_dict", "print_csv_format", "verify_results"]

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log each task's main metrics (not those by class) as comma separated lines, easily pasted into a sheet."""
    for task, metrics in results.items():
        if not isinstance(metrics, Mapping):
            logger.info("copypaste: %s=%s", task, metrics)
            continue
        main = {name: value for name, value in metrics.items() if "-" not in name}
        logger.info("copypaste: Task: %s", task)
        logger.info("copypaste: %s", ",".join(main))
        logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in main.values()))


def verify_results(cfg: CfgNode, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compare results with cfg.TEST.EXPECTED_RESULTS, a list of [task, metric, value, tolerance].

    A difference or a missing metric is logged and ends the program with status 1.
    """
    wrong = []
    for task, metric, expected, tolerance in cfg.TEST.EXPECTED_RESULTS:
        actual = results.get(task, {}).get(metric)
        # Written so that NaN is wrong.
        if actual is None or not abs(actual - expected) <= tolerance:
            wrong.append(f"{task}/{metric} is {actual}, expected {expected} +- {tolerance}")
    if not wrong:
        if cfg.TEST.EXPECTED_RESULTS:
            logger.info("Results verification passed.")
        return True
    logger.error("Results verification failed: %s", "; ".join(wrong))
    logger.error("Actual results: %s", pprint.pformat(results))
    sys.exit(1)


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """{"bbox": {"AP": 1}} as {"bbox/AP": 1}, whatever the depth."""
    flat: dict[str, Any] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}/{below}": leaf for below, leaf in flatten_results_dict(value).items()})
        else:
            flat[key] = value
    return flat
