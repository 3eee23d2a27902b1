"""`python -m gates`."""

from gates.cli.main import main

main()
