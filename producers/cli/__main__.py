"""`python -m producers.cli` is `openfall`."""

from producers.cli import main

main()
