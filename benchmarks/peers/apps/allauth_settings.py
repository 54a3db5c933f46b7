"""Accounts by django-allauth, headless, for apps: JWT with rotated refresh tokens."""

from django_defaults import *  # noqa: F403

ROOT_URLCONF = "allauth_urls"
INSTALLED_APPS += ["allauth", "allauth.account", "allauth.headless"]  # noqa: F405
MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]  # noqa: F405
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
HEADLESS_ONLY = True
HEADLESS_CLIENTS = ("app",)
HEADLESS_TOKEN_STRATEGY = "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"
HEADLESS_JWT_ALGORITHM = "HS256"
HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN = 7 * 86400
HEADLESS_JWT_REFRESH_TOKEN_EXPIRES_IN = 30 * 86400
HEADLESS_JWT_ROTATE_REFRESH_TOKEN = True
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False  # they would answer 429 under load
ALLAUTH_TRUSTED_PROXY_COUNT = 0
