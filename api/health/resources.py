"""Health over HTTP."""

from flask_restful import Resource

from api.health import service
from api.health.service import NotReady
from api.kit.identity import PUBLIC
from api.kit.operation import operation
from schemas.health import HealthAnswer

OK = {"status": "ok"}


class Live(Resource):
    @operation("getLiveness", access=PUBLIC, answer=(200, HealthAnswer()), database=False, limit=None)
    def get(self) -> dict[str, str]:
        """Tell that the process answers."""
        return OK


class Ready(Resource):
    @operation(
        "getReadiness",
        access=PUBLIC,
        answer=(200, HealthAnswer()),
        database=False,
        problems=(NotReady,),
        limit=None,
    )
    def get(self) -> dict[str, str]:
        """Tell whether the database answers and is migrated."""
        service.require_ready()
        return OK
