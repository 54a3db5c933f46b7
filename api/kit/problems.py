"""Refusals as data (RFC 9457): no Flask, no request."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from schemas.messages import Message, Phrase

Say = Callable[[str], str]  # a text in the language of its reader


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with what was sent; exactly one of `pointer` and `parameter` is set.

    `pointer` is a JSON pointer into the body (RFC 6901), `parameter` the name of a query or path
    parameter.
    """

    message: Message
    pointer: str | None = None
    parameter: str | None = None

    def as_dict(self, say: Say = str) -> dict[str, Any]:
        where = {"parameter": self.parameter} if self.pointer is None else {"pointer": self.pointer}
        return {**where, "code": self.message.code, "detail": say(self.message)}


class Problem(Exception):
    """A refusal: raise it anywhere, and the caller gets it as `application/problem+json`.

    A subclass is one kind of problem. `code` is what programs compare and never changes;
    `detail` is for people and holds neither a secret nor a submitted value. With `keeps_writes`
    the unit of work commits what was written before the refusal.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    detail: str
    remedy: ClassVar[str]
    keeps_writes: ClassVar[bool] = False

    def __init__(
        self,
        detail: Phrase | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(self.code)
        self.detail = detail or type(self).detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def as_dict(self, request_id: str | None, say: Say = str) -> dict[str, Any]:
        """Return the members of the problem document, with its texts as `say` translates them."""
        return {
            "type": f"/problems/{self.code}",
            "title": say(self.title),
            "status": self.status,
            "code": self.code,
            "detail": say(self.detail),
            "request_id": request_id,
            **self.members,
        }


class MalformedRequest(Problem):
    status = 400
    code = "malformed_request"
    title = "The request is not well-formed"
    detail = "The request breaks the rules of HTTP."
    remedy = "Send one Host header and one way of framing the body, or use a common HTTP client."


class MalformedJson(Problem):
    status = 400
    code = "malformed_json"
    title = "The body is not valid JSON"
    detail = "The body is not a JSON text."
    remedy = "Send one JSON text in UTF-8 (RFC 8259), without duplicate members, NaN or Infinity."


class AuthenticationRequired(Problem):
    status = 401
    code = "authentication_required"
    title = "Authentication is required"
    detail = "This operation needs an access token, sent as 'Authorization: Bearer TOKEN'."
    remedy = "Sign in with POST /v1/sessions, and send the access token with every request."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class InvalidToken(Problem):
    status = 401
    code = "invalid_token"
    title = "The access token is not valid"
    detail = "The access token is malformed, expired, revoked or not from here."
    remedy = "Refresh the session with POST /v1/sessions/refresh, or sign in again."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


class ReauthenticationRequired(Problem):
    status = 401
    code = "reauthentication_required"
    title = "A fresh sign-in is required"
    detail = "The sign-in of this session is too long ago for this operation."
    remedy = "Send the password to POST /v1/sessions/reauthenticate, and try again within `max_age` seconds."

    def __init__(self, max_age: int) -> None:
        challenge = f'Bearer error="insufficient_user_authentication", max_age={max_age}'
        super().__init__(headers={"WWW-Authenticate": challenge}, members={"max_age": max_age})


class PermissionDenied(Problem):
    status = 403
    code = "permission_denied"
    title = "You may not do this"
    detail = "Your account lacks the permission that this operation needs."
    remedy = "Ask an administrator for a role that has the permission."

    def __init__(self, permission: str) -> None:
        challenge = f'Bearer error="insufficient_scope", scope="{permission}"'
        super().__init__(headers={"WWW-Authenticate": challenge})


class NotFound(Problem):
    status = 404
    code = "not_found"
    title = "There is nothing here"
    detail = "There is no such resource, or you may not know of it."
    remedy = "Check the path and the identifiers in it."


class MethodNotAllowed(Problem):
    status = 405
    code = "method_not_allowed"
    title = "The method is not allowed here"
    detail = "This path does not answer to that method."
    remedy = "The Allow header lists the methods of this path."


class NotAcceptable(Problem):
    status = 406
    code = "not_acceptable"
    title = "No acceptable representation"
    detail = "This operation does not answer in a media type that the Accept header admits."
    remedy = "Send 'Accept: application/json', or no Accept header."


class RequestTimeout(Problem):
    status = 408
    code = "request_timeout"
    title = "The request took too long to arrive"
    detail = "The body did not arrive in time."
    remedy = "Send the whole body without long pauses."


class RequestInProgress(Problem):
    status = 409
    code = "request_in_progress"
    title = "The request is being worked on"
    detail = "A request with this Idempotency-Key was sent before, and has no answer yet."
    remedy = "Send it again, with the same key, after the seconds in Retry-After."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class PreconditionFailed(Problem):
    status = 412
    code = "precondition_failed"
    title = "The resource has changed"
    detail = "The resource is not in the state that the If-Match header names; nothing was changed."
    remedy = "Get the resource again, and send the change with its new ETag."


class BodyTooLarge(Problem):
    status = 413
    code = "body_too_large"
    title = "The body is too large"
    detail = "The body is larger than this operation takes."
    remedy = "Send less than 64 KiB."


class UnsupportedMediaType(Problem):
    status = 415
    code = "unsupported_media_type"
    title = "The body has an unsupported media type"
    detail = "The body must be JSON in UTF-8, without a content coding."
    remedy = "Send 'Content-Type: application/json'."


class ValidationFailed(Problem):
    status = 422
    code = "validation_failed"
    title = "The request does not fit its schema"
    detail = "Parts of the request are missing or have an unfit value; `errors` lists them all."
    remedy = "Mend each entry of `errors`: its pointer or parameter says where, its code what."

    def __init__(self, errors: Iterable[FieldError]) -> None:
        super().__init__()
        self.errors = tuple(errors)

    def as_dict(self, request_id: str | None, say: Say = str) -> dict[str, Any]:
        errors = [error.as_dict(say) for error in self.errors]
        return {**super().as_dict(request_id, say), "errors": errors}


class TooManyRequests(Problem):
    status = 429
    code = "too_many_requests"
    title = "Too many requests"
    detail = "Too many requests came from this address in a short time."
    remedy = "Try again after the seconds in Retry-After; the RateLimit header says what is left."

    def __init__(self, retry_after: int) -> None:
        super().__init__(headers={"Retry-After": str(retry_after)})


class TooManyAttempts(Problem):
    status = 429
    code = "too_many_attempts"
    title = "Too many failed attempts"
    detail = "Too many attempts from this address have failed lately; this one was not looked at."
    remedy = "Try again after the seconds in Retry-After, or reset the password."

    def __init__(self, retry_after: int) -> None:
        super().__init__(headers={"Retry-After": str(retry_after)})


class InternalError(Problem):
    status = 500
    code = "internal_error"
    title = "The service failed"
    detail = "Something went wrong here; it was logged under this request's id."
    remedy = "Try again later; when it lasts, tell the operator the request_id."


class Overloaded(Problem):
    status = 503
    code = "overloaded"
    title = "The service is busy"
    detail = "More work is waiting than can be done soon."
    remedy = "Try again after the seconds in Retry-After."

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__(headers={"Retry-After": str(retry_after)})


class DatabaseUnavailable(Problem):
    status = 503
    code = "database_unavailable"
    title = "The database does not answer"
    detail = "The database cannot be reached, is busy, or is not migrated."
    remedy = "Try again after the seconds in Retry-After; the operator sees the cause in the log."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


KIT_PROBLEMS: tuple[type[Problem], ...] = (
    MalformedRequest,
    MalformedJson,
    AuthenticationRequired,
    InvalidToken,
    ReauthenticationRequired,
    PermissionDenied,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    RequestInProgress,
    PreconditionFailed,
    BodyTooLarge,
    UnsupportedMediaType,
    ValidationFailed,
    TooManyRequests,
    TooManyAttempts,
    InternalError,
    Overloaded,
    DatabaseUnavailable,
)
