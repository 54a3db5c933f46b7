"""The outbox as operators see it; what puts things into it and delivers them is api/kit/outbox.py."""

from api.kit.feature import Feature
from api.kit.outbox import held_about
from api.outbox.commands import outbox

feature = Feature(
    name="outbox",
    summary="For operators: what is owed to the world, and trying again what failed.",
    personal_data=held_about,
    commands=(outbox,),
)
