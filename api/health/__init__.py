"""Whether the service is alive, and ready for requests."""

from pathlib import Path

from api.health.resources import Live, Ready
from api.health.service import NotReady, reach_database, require_migrations
from api.kit.feature import Feature

feature = Feature(
    name="health",
    summary="Whether the service is alive, and ready for requests.",
    resources=(("/health/live", Live), ("/health/ready", Ready)),
    problems=(NotReady,),
    health_checks=(("database", reach_database), ("migrations", require_migrations)),
    examples=Path(__file__).parent / "examples.json",
)
