"""Shared by all tests: quiet threads, a prior small enough to run anywhere, and the command as a function."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow other processes down
