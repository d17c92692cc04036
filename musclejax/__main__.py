"""`python -m musclejax`."""

from musclejax.cli.main import main

main()
