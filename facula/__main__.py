"""`python -m facula` is the command `facula`."""

from __future__ import annotations

import sys

from facula.cli import main

if __name__ == "__main__":
    sys.exit(main())
