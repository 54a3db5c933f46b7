"""Accounts by djoser and simplejwt, on Django REST framework: JWT that are rotated, with a blacklist."""

from datetime import timedelta

from django_defaults import *  # noqa: F403

ROOT_URLCONF = "djoser_urls"
INSTALLED_APPS += [  # noqa: F405
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "djoser",
]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 50,
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(days=7),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=30),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
}
