"""The audit trail: who did what to whom; nobody changes it, and a chain of seals shows that nobody did."""

from pathlib import Path

from api.audit import chain, service
from api.audit.commands import audit
from api.audit.resources import READ, AuditEvents, UserAuditEvents
from api.kit.events import Event
from api.kit.feature import Chore, Feature
from api.kit.identity import Permission

feature = Feature(
    name="audit",
    summary="The audit trail: who did what to whom, from where and when; it is never changed.",
    requires=("users",),
    resources=(
        ("/v1/audit-events", AuditEvents),
        ("/v1/users/<user_id>/audit-events", UserAuditEvents),
    ),
    permissions=(Permission(READ, "See the whole audit trail."),),
    listeners=((Event, service.record),),
    personal_data=service.personal_data,
    chores=(Chore("audit seals", 1, chain.is_waiting, chain.seal_batch),),
    commands=(audit,),
    examples=Path(__file__).parent / "examples.json",
)
