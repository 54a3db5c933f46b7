"""Letters to users: how they are carried, and in development how they are read."""

from pathlib import Path

from flask import Flask

from api.kit.config import data_folder, in_production
from api.kit.feature import Feature
from api.kit.mail import KIND, MAIL_LIMIT, Letters, carrier
from api.kit.settings import Settings, SettingsError
from api.mail import service
from api.mail.resources import DevelopmentMail
from api.mail.service import MAIL_FROM, MAIL_TEMPLATES, MAIL_URL, Post


def _start(app: Flask, settings: Settings) -> None:
    transport = settings[MAIL_URL]
    if in_production(settings) and transport.scheme == "console":
        raise SettingsError([f"{MAIL_URL.variable}: must reach people in production"])
    folders = [settings[MAIL_TEMPLATES], *(f.letters for f in app.extensions["tessera"].features)]
    app.extensions["tessera.post"] = Post(
        Letters([folder for folder in folders if folder is not None]),
        carrier(transport),
        settings[MAIL_FROM],
        None if in_production(settings) else data_folder(settings) / "mail",
    )


feature = Feature(
    name="mail",
    summary="Letters to users, by SMTP; in development they can be read at `GET /v1/dev/mail`.",
    development_resources=(("/v1/dev/mail", DevelopmentMail),),
    settings=(MAIL_URL, MAIL_FROM, MAIL_TEMPLATES, MAIL_LIMIT),
    deliveries={KIND: service.deliver},
    letters=Path(__file__).parent / "letters",
    start=_start,
)
