"""The `tessera` command; also `python -m api`, where it is not installed."""

import gc

gc.disable()  # what is imported stays: to look for garbage in it took a tenth of the start

from api.cli import main  # noqa: E402  # after the line above

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main(prog_name="tessera")
