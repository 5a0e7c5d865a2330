"""The program behind `python -m active_learning.annotations`; see `command`."""

import sys

from active_learning.conversion.command import main

if __name__ == "__main__":
    sys.exit(main())
