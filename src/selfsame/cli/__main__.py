"""`python -m selfsame.cli`: the same as the command `selfsame`, for launchers of several processes."""

from __future__ import annotations

import sys

from selfsame.cli import main

if __name__ == "__main__":
    sys.exit(main())
