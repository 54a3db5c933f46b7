"""`python -m api`: the `tessera` command, where it is not installed."""

from api.cli import main

if __name__ == "__main__":
    main(prog_name="tessera")
