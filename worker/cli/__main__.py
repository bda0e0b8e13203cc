"""`python -m worker.cli` is `aftercall`."""

from worker.cli import main

main()
