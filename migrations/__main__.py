"""`python -m migrations MESSAGE`: write the next migration, from what the models say."""

import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa
from alembic import command

import api
from api.kit.feature import installed
from api.kit.migrations import OWN, configuration, upgrade


def main(message: str) -> None:
    installed(api)  # knowing every feature imports every model
    with tempfile.TemporaryDirectory() as folder:
        url = sa.make_url(f"sqlite:///{Path(folder) / 'scratch.db'}")
        upgrade(url, [OWN])
        with sa.create_engine(url).connect() as connection:
            command.revision(configuration(OWN, connection), message, autogenerate=True)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "Change the tables")
