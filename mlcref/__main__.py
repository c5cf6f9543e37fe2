"""``python -m mlcref``."""

import sys

from mlcref.cli import main

if __name__ == "__main__":
    sys.exit(main())
