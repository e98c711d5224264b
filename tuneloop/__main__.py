"""`python -m tuneloop` is `tuneloop`."""

from tuneloop.cli import main

main()
