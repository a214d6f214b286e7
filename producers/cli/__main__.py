"""`python -m openfall.producers.cli` is `openfall`."""

from openfall.producers.cli import main

main()
