"""`python -m sidedoor`: the same as the console script."""

from sidedoor.cli import main

main()
