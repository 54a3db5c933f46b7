"""A driver's errors as SQLAlchemy has them, for what is said to the driver itself."""

from typing import Any, cast

import sqlalchemy as sa


def as_sqlalchemy_has_it(error: Any, dialect: sa.Dialect, connection: Any) -> sa.exc.DBAPIError:
    """Return a driver's error as SQLAlchemy has it, which tells whether the connection is lost."""
    is_lost = connection is not None and dialect.is_disconnect(error, connection, None)
    kind = dialect.loaded_dbapi.Error
    made = sa.exc.DBAPIError.instance(
        None, None, error, kind, True, connection_invalidated=is_lost, dialect=dialect
    )
    return cast("sa.exc.DBAPIError", made)
