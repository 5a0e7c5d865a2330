"""The default tree against the contract's facts."""

from __future__ import annotations

import json
from pathlib import Path

from detectron2.config import get_cfg


def test_defaults_equal_the_facts(shared_dir: Path) -> None:
    facts = (shared_dir / "facts" / "default_config.json").read_text(encoding="utf-8")
    cfg = get_cfg()
    # Detectron2 has no operators of its own for processors, and so no switch for them.
    assert cfg.MODEL.pop("CPU_KERNELS") == "auto"
    # As text, so that 0.0 and 0 or False differ, and the order of the keys counts.
    assert json.dumps(cfg) == json.dumps(json.loads(facts))
