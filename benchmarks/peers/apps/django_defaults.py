"""What `django-admin startproject` sets, with the database and the hash that a peer was given."""

from urllib.parse import urlsplit

import common
from django.contrib.auth.hashers import Argon2PasswordHasher

SECRET_KEY = common.SECRET
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
PASSWORD_HASHERS = ["django_defaults.OwaspArgon2"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler", "level": "ERROR"}},
    "loggers": {"django": {"handlers": ["console"], "level": "ERROR"}},
}


class OwaspArgon2(Argon2PasswordHasher):
    time_cost = common.ARGON2["time_cost"]
    memory_cost = common.ARGON2["memory_cost"]
    parallelism = common.ARGON2["parallelism"]


def _database(url):
    place = urlsplit(url)
    if place.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": place.path[1:],
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": " ".join(f"PRAGMA {pragma};" for pragma in common.PRAGMAS),
            },
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": place.path[1:],
        "USER": place.username,
        "PASSWORD": place.password,
        "HOST": place.hostname,
        "PORT": place.port,
    }


DATABASES = {"default": {**_database(common.database()), "CONN_MAX_AGE": None}}
