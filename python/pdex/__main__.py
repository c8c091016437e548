"""``python -m pdex``: the command line."""

import sys

from pdex.cli import main

if __name__ == "__main__":
    sys.exit(main())
