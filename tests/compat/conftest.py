from __future__ import annotations

import importlib.util


def pytest_report_header() -> str:
    found = importlib.util.find_spec("detectron2")
    return f"engine: {found.origin if found else 'there is no detectron2'}"
