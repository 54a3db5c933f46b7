"""Health as it crosses the wire."""

from schemas.base import Answer, Text


class HealthAnswer(Answer):
    """That the service is well."""

    status = Text(maximum=20, metadata={"example": "ok"})
