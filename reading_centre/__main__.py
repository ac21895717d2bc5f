"""``python -m reading_centre``: the command line, where no console script is installed."""

from reading_centre.cli import main

main()
