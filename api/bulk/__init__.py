"""Users in bulk: brought in from files of any size, and written out so that nothing is lost."""

from pathlib import Path

from api.bulk.commands import export_users, import_users
from api.bulk.resources import OneUserImport, UserExports, UserImportErrors, UserImports
from api.bulk.running import BATCH_TASK, run_batch
from api.bulk.service import EXPORT_SECRETS, IMPORT_BYTES, ImportDeleted, UsersExported
from api.kit.commands import joining
from api.kit.feature import Feature
from api.kit.identity import Permission

feature = Feature(
    name="bulk",
    summary="Bring in and write out users by the million: NDJSON and CSV, as jobs that survive a crash.",
    requires=("users",),
    resources=(
        ("/v1/user-imports", UserImports),
        ("/v1/user-imports/<import_id>", OneUserImport),
        ("/v1/user-imports/<import_id>/errors", UserImportErrors),
        ("/v1/user-export", UserExports),
    ),
    settings=(IMPORT_BYTES,),
    permissions=(
        Permission("users:import", "Bring in users from files."),
        Permission("users:export", "Write out all users."),
        Permission(EXPORT_SECRETS, "Write out their roles and password hashes as well."),
    ),
    events=(UsersExported, ImportDeleted),
    deliveries={BATCH_TASK: run_batch},
    commands=(joining("user", import_users, export_users),),
    examples=Path(__file__).parent / "examples.json",
)
