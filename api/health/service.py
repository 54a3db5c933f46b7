"""What being ready takes."""

import sqlalchemy as sa

from api.kit import migrations
from api.kit.db import db
from api.kit.feature import HealthCheck
from api.kit.logger import get_logger
from api.kit.problems import Problem
from api.kit.service import service
from schemas.messages import Phrase

log = get_logger(source="tessera.health")


class NotReady(Problem):
    status = 503
    code = "not_ready"
    title = "The service is not ready"
    detail = "A part of the service is not ready."
    remedy = "Wait; when it lasts, the operator sees the cause in the log, or by `tessera doctor`."

    def __init__(self, parts: list[str]) -> None:
        detail = Phrase("Not ready: {parts}.", parts=", ".join(parts))
        super().__init__(detail, headers={"Retry-After": "2"})


def require_ready() -> None:
    """Raise NotReady, naming the parts that are not."""
    checks = [check for feature in service().features for check in feature.health_checks]
    if failing := [name for name, check in checks if not _passes(name, check)]:
        raise NotReady(failing)


def reach_database() -> None:
    """Raise when the database does not answer."""
    db.session.execute(sa.text("SELECT 1"))


def require_migrations() -> None:
    """Raise when the tables are not those that the code expects."""
    if behind := migrations.behind(db.session.connection(), migrations.histories(service().features)):
        raise RuntimeError(f"not migrated: {', '.join(behind)}; run: tessera migrate")


def _passes(name: str, check: HealthCheck) -> bool:
    try:
        check()
    except Exception as error:  # whatever it is, the part is not ready
        log.warning("not_ready", part=name, error=type(error).__name__, detail=str(error)[:200])
        return False
    return True
