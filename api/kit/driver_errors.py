"""A driver's errors as SQLAlchemy has them, for what is said to the driver itself."""

from typing import Any, cast

import sqlalchemy as sa

# PostgreSQL's (its appendix A); the first of a prepared statement whose columns have other types now.
STALE, DEADLOCK = "0A000", "40P01"


def is_stale(error: object) -> bool:
    """Tell whether a connection has a statement that was prepared before a table was altered."""
    return _sqlstate(error) == STALE


def is_deadlock(error: object) -> bool:
    """Tell whether the database ended this of two transactions that waited for each other."""
    return _sqlstate(error) == DEADLOCK


def _sqlstate(error: object) -> str | None:
    """Return the code of a driver's error, or of SQLAlchemy's about one."""
    found: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found


def as_sqlalchemy_has_it(error: Any, dialect: sa.Dialect, connection: Any) -> sa.exc.DBAPIError:
    """Return a driver's error as SQLAlchemy has it, which tells whether the connection is lost."""
    is_lost = connection is not None and (is_stale(error) or dialect.is_disconnect(error, connection, None))
    kind = dialect.loaded_dbapi.Error
    made = sa.exc.DBAPIError.instance(
        None, None, error, kind, True, connection_invalidated=is_lost, dialect=dialect
    )
    return cast("sa.exc.DBAPIError", made)
