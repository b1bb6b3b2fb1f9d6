"""`python -m cli` is `recon`."""

from cli.main import run

run()
