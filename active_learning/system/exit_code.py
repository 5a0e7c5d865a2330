"""The exit code of a program; what a user can act on is reported on standard error and in the log file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from active_learning.errors import FailedElsewhere, MaskALError, SettingsError
from active_learning.system.disk_space import disk_failure
from active_learning.system.gpu_failures import gpu_failure
from active_learning.system.interruption import GO_ON, INTERRUPTED, interruptible
from active_learning.system.log import escape_unencodable, log_to_file, log_traceback

FAILURE = 1


def is_main_process() -> bool:
    """Whether this is not a further process of torchrun; asks its environment, so it costs no import of torch.

    A cluster's script may have set RANK for other programs.
    """
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def exit_code_of(
    program: Callable[..., int | None], *args: Any, go_on: str = GO_ON, report_interruption: bool = True
) -> int:
    """Runs the program; its return value is the exit code, None is 0.

    Args:
        go_on: what an interrupted user reads.
    """
    escape_unencodable()
    try:
        with interruptible(go_on):
            return program(*args) or 0
    except FailedElsewhere as error:
        return error.exit_code
    except MaskALError as error:
        # Every process reads the settings; a mistake in them is reported once.
        if is_main_process() or not isinstance(error, SettingsError):
            report(str(error))
        return error.exit_code
    except (OSError, RuntimeError) as error:
        if not (failure := disk_failure(error) if isinstance(error, OSError) else gpu_failure(error)):
            raise
        log_traceback(error)
        report(failure)
        return FAILURE
    except KeyboardInterrupt:
        if is_main_process() and report_interruption:
            report(f"Interrupted. {go_on}")
        return INTERRUPTED


def report(text: str) -> None:
    """On standard error, and in the log file: how a program has ended."""
    with suppress(OSError):  # standard error may be a file on a full disk, too
        print(f"\n{text}", file=sys.stderr, flush=True)
    log_to_file(text)
