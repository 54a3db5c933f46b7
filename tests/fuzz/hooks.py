"""What Schemathesis is told in Python: who calls, which refusals are by meaning, and what to write down.

`python -m tests.fuzz` says by the environment who calls (`FUZZ_CALLER`) and where to write what was seen
(`FUZZ_TALLY`), and by the variables of Tessera which service it is.
"""

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import schemathesis
import structlog
from hypothesis import strategies as st
from schemathesis import Case, HookContext, Response, cli
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.engine import events
from schemathesis.openapi.checks import EnsureResourceAvailability, RejectedPositiveData

from api.app import create_app
from api.kit import conditional
from schemas.bulk import UserRow
from tests.support.clients import PASSWORD, Person, new_person

CALLER = os.environ["FUZZ_CALLER"]
TALLY = Path(os.environ["FUZZ_TALLY"])
FILES = ("application/x-ndjson", "text/csv")  # whatever is uploaded is read as text, row by row
# Why a person calls no more: somebody else takes the place. People delete, suspend and demote themselves.
SPENT = {"invalid_token", "reauthentication_required"}
if CALLER == "administrator":
    SPENT.add("permission_denied")
# What no schema can say: an error with one of these codes refuses the meaning of a value, not its shape.
BY_MEANING = {
    "idempotency_key_reused",
    "invalid_cursor",  # none that the service has signed, or another list's
    "invalid_email",  # RFC 5321, 5322 and 5891 are no regular expression
    "invalid_username",  # nor is RFC 8265
    "not_in_future",
    "password_contains_name",
    "password_too_common",
    "unknown_permission",
    "unusable_token",
    "username_reserved",
}
# The same for the members of these names alone.
BY_MEANING_OF = {
    ("action", "not_one_of"),  # which actions there are depends on the features
    ("current_password", "null_not_allowed"),  # null is for administrators, and others' passwords
    ("metadata", "invalid_characters"),  # a schema of all that is in it would be one of all JSON
    ("metadata", "too_long"),  # measured in bytes
    ("app_metadata", "invalid_characters"),
    ("app_metadata", "too_long"),
    ("password", "too_long"),  # measured in bytes, after normalisation
    ("password", "too_short"),
    ("new_password", "too_long"),
    ("new_password", "too_short"),
    ("username", "too_long"),
    ("email", "too_long"),
}
FREE_FORM = {"metadata", "app_metadata"}  # what may be JSON and yet no I-JSON (RFC 7493)
# The requests by which people sign up and in are no news.
structlog.configure(
    processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory()
)


class Caller:
    """A person with an account, for as long as their token is good."""

    def __init__(self) -> None:
        names = (name for name in os.environ if name.startswith("TESSERA_"))
        self._app = create_app({name: os.environ[name] for name in names})
        self._person: Person | None = None

    @property
    def person(self) -> Person:
        """Who calls now; somebody is signed up if there is nobody."""
        if self._person is None:
            self._person = new_person(self._app, admin=CALLER == "administrator")
        return self._person

    @property
    def bearer(self) -> str:
        return self.person.bearer["Authorization"]

    def heed(self, response: Response) -> None:
        """Let somebody else call from now on if this refused the person who does."""
        sent = response.request.headers.get("Authorization")
        refused = response.status_code in (401, 403) and response.json()["code"] in SPENT
        if refused and self._person is not None and sent == self.bearer:
            self._person = None

    def known(self, digest: str) -> dict[str, str]:
        """Return what members of bodies may be to be let in: the person's own, or names that nobody has."""
        return {
            "username": f"user-{digest}",
            "email": f"user-{digest}@example.com",
            "identifier": self.person.user["username"],
            "password": PASSWORD,
            "current_password": PASSWORD,
            "refresh_token": self.person.tokens["refresh_token"],
        }


caller = Caller()

if CALLER != "nobody":

    @schemathesis.auth(refresh_interval=None)
    class Bearer:
        """Sends the access token of the caller."""

        def get(self, _case: Case[Any], _ctx: Any) -> str:
            return caller.bearer

        def set(self, case: Case[Any], data: str, _ctx: Any) -> None:
            case.headers["Authorization"] = data

    @schemathesis.hook
    def after_call(_ctx: HookContext, _case: Case[Any], response: Response) -> None:
        caller.heed(response)


@schemathesis.hook
def filter_failure(_ctx: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Drop what is none.

    That is a refusal by meaning alone, what became a fit file when it was written, and whoever was made
    being hidden from those who are no administrators.
    """
    if isinstance(failure, AcceptedNegativeData):
        return case.media_type not in FILES or isinstance(case.body, str)
    if isinstance(failure, EnsureResourceAvailability):
        return CALLER == "administrator"
    if not isinstance(failure, RejectedPositiveData):
        return True
    if {None, "None"} & set(case.path_parameters.values()):  # the tool drew a link from what is null at times
        return False
    problem = response.json()
    if problem["code"] == "malformed_json":
        return not (isinstance(case.body, dict) and FREE_FORM & case.body.keys())
    errors = problem.get("errors", [{"code": problem["code"], "parameter": ""}])
    return not all(map(_is_by_meaning, errors))


def _is_by_meaning(error: Mapping[str, str]) -> bool:
    member = error.get("parameter") or error["pointer"].lstrip("/")
    return error["code"] in BY_MEANING or (member, error["code"]) in BY_MEANING_OF


@schemathesis.hook
def map_case(_ctx: HookContext, case: Case[Any]) -> Case[Any]:
    """Let every other body that is meant well be about people that there are, or can be."""
    if not isinstance(case.body, dict) or case.meta is None or case.meta.generation.mode.is_negative:
        return case
    digest = hashlib.sha256(repr(case.body).encode()).hexdigest()[:12]
    if int(digest, 16) % 2:
        case.body |= {name: value for name, value in caller.known(digest).items() if name in case.body}
    return case


@schemathesis.hook
def before_call(_ctx: HookContext, case: Case[Any], _kwargs: Any) -> None:
    """Leave out the entity tags of the coverage phase, which cannot draw what has quotes in it."""
    for name in ("If-Match", "If-None-Match"):
        is_meant_well = case.meta is None or case.meta.generation.mode.is_positive
        if is_meant_well and not re.fullmatch(conditional.PATTERN, case.headers.get(name) or "*"):
            del case.headers[name]


def _files() -> st.SearchStrategy[str]:
    """Return what is uploaded: with the columns that there are, and anything in them."""
    columns = st.sampled_from([field.data_key or name for name, field in UserRow().fields.items()])
    text = st.text(max_size=30)
    values = st.recursive(st.none() | st.booleans() | st.integers() | text, st.lists, max_leaves=3)
    rows = st.lists(st.dictionaries(columns | text, values, max_size=6), max_size=5)
    table = st.lists(st.lists(columns | text, max_size=6).map(",".join), max_size=5)
    return rows.map(lambda found: "\n".join(map(json.dumps, found))) | table.map("\r\n".join)


@schemathesis.serializer(*FILES)
def write_file(_ctx: Any, value: Any) -> bytes:
    return str(value).encode()


@schemathesis.hook
def before_generate_body(ctx: HookContext, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Upload files with rows, and texts of any kind."""
    is_upload = ctx.operation is not None and ctx.operation.path == "/v1/user-imports"
    return _files() | strategy if is_upload else strategy


@cli.handler()
class Tally(cli.EventHandler[Any]):
    """Writes down how each operation was answered, and what was found."""

    def __init__(self, *_args: Any, **_params: Any) -> None:
        self._answers: dict[str, Counter[int]] = defaultdict(Counter)

    def handle_event(self, ctx: Any, event: events.EngineEvent) -> None:
        if isinstance(event, events.ScenarioFinished):
            for case_id, interaction in event.recorder.interactions.items():
                self._count(event.recorder.cases[case_id].value, interaction.response)
        elif isinstance(event, events.EngineFinished):
            findings = [
                {"operation": label, "titles": [f.title for f in found.failures], "curl": found.code_sample}
                for label, cases in ctx.statistic.failures.items()
                for found in cases.values()
            ]
            TALLY.write_text(json.dumps({"answers": self._answers, "findings": findings}))

    def _count(self, case: Case[Any], response: Response | None) -> None:
        if response is not None and case.method.upper() == case.operation.method.upper():
            self._answers[case.operation.definition.raw["operationId"]][response.status_code] += 1
