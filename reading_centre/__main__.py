"""``python -m reading_centre``: the command line without an installed console script."""

from reading_centre.cli import main

main()
