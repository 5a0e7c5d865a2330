"""The program behind `python -m active_learning.annotations`; see `command`."""

import io
import sys

from active_learning.conversion.command import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may not be text
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
