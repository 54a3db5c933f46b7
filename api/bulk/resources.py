"""Imports and exports of users over HTTP."""

from typing import Any
from uuid import UUID

from flask import stream_with_context
from flask_restful import Resource

from api.bulk import service
from api.bulk.models import UserImport as Job
from api.kit.conditional import Precondition
from api.kit.config import PUBLIC_URL
from api.kit.identity import Needs, caller
from api.kit.operation import Answer, operation
from api.kit.problems import NotFound
from api.kit.service import setting
from api.kit.uploads import Stream, Upload
from schemas.base import PageQuery
from schemas.bulk import (
    UserExport,
    UserImportAnswer,
    UserImportCreate,
    UserImportErrorPageAnswer,
    UserImportPageAnswer,
    UserImportPath,
)

FORMATS = {"application/x-ndjson": "ndjson", "text/csv": "csv"}
MEDIA_TYPES = {name: media_type for media_type, name in FORMATS.items()}
_LINK = {"Link": "The next page (RFC 8288), when there is one."}
FILE = Stream(
    {
        "application/x-ndjson": '{"username":"mina","email":"mina@example.com","password_hash":null}\n',
        "text/csv": "username,email,display_name\r\nken,ken@example.com,Ken\r\nmina,mina@example.com,\r\n",
    },
    service.IMPORT_BYTES,
)
_EXPORTED = {
    "application/x-ndjson": '{"id":"0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10"}\n{"end_of_export":1}\n',
    "text/csv": "id,username\r\n0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10,mina\r\nend_of_export,1\r\n",
}


class UserImports(Resource):
    @operation(
        "createUserImport",
        access=Needs("users:import"),
        repeatable=True,
        query=UserImportCreate(),
        body=FILE,
        answer=(202, UserImportAnswer()),
        etag=service.etag,
        headers={"Location": "The URL of the import."},
        problems=(NotFound,),
        names={"import_id": "id"},
    )
    def post(self, dry_run: bool, on_conflict: str, upload: Upload) -> Answer:
        """Import users from a file.

        The file is stored while it arrives, and brought in afterwards, row by row: one that is refused
        leaves the others alone. `on_conflict=update` needs `users:write`, and rows with roles need every
        permission: still, whenever it goes on. A file that breaks off is forgotten. See docs/bulk.md for
        its columns.
        """
        choice = service.Choice(FORMATS[upload.media_type], dry_run, on_conflict)
        job = service.receive(upload.pieces, choice, caller())
        return Answer(job, {"Location": f"{setting(PUBLIC_URL)}/v1/user-imports/{job.id}"})

    @operation(
        "listUserImports",
        access=Needs("users:import"),
        query=PageQuery(),
        answer=(200, UserImportPageAnswer()),
        headers=_LINK,
    )
    def get(self, limit: int, cursor: str | None) -> Answer:
        """List imports, the newest first."""
        page = service.list_page(limit=limit, cursor=cursor)
        return Answer(page, page.link())


class OneUserImport(Resource):
    @operation(
        "getUserImport",
        access=Needs("users:import"),
        path=UserImportPath(),
        answer=(200, UserImportAnswer()),
        etag=service.etag,
        problems=(NotFound,),
    )
    def get(self, import_id: UUID) -> Job:
        """Get an import, and how far it is."""
        return service.get(import_id)

    @operation(
        "deleteUserImport",
        access=Needs("users:import"),
        path=UserImportPath(),
        answer=(204, None),
        etag=service.etag,
        problems=(NotFound,),
    )
    def delete(self, import_id: UUID, precondition: Precondition) -> None:
        """Forget an import.

        One that is not finished ends where it is; the users that it made or changed stay.
        """
        service.delete(import_id, precondition)


class UserImportErrors(Resource):
    @operation(
        "listUserImportErrors",
        access=Needs("users:import"),
        path=UserImportPath(),
        query=PageQuery(),
        answer=(200, UserImportErrorPageAnswer()),
        headers=_LINK,
        problems=(NotFound,),
    )
    def get(self, import_id: UUID, limit: int, cursor: str | None) -> Answer:
        """List what is wrong with the rows of an import, in the order of the file."""
        page = service.errors_page(import_id, limit=limit, cursor=cursor)
        return Answer(page, page.link())


class UserExports(Resource):
    @operation(
        "exportUsers",
        access=Needs("users:export"),
        query=UserExport(),
        answer=(200, None),
        texts=_EXPORTED,
    )
    def get(self, format: str, secrets: bool) -> Answer:  # noqa: A002  # the name of the parameter
        """Export all users, in the order of their ids.

        The last line says how many there were: a file without it is not whole. It imports back; with
        `secrets=true` nothing is lost.
        """
        users: Any = stream_with_context(service.export(format, secrets=secrets, by=caller()))
        return Answer(users, media_type=MEDIA_TYPES[format])
