"""Fill the tables of djoser or allauth, whichever DJANGO_SETTINGS_MODULE names."""

import common
import django
from django.apps import apps

django.setup()

from django.contrib.auth.hashers import make_password  # noqa: E402  # after setup alone
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

call_command("migrate", verbosity=0)
hashed = make_password(common.PASSWORD)
users = [
    User(
        username=common.username(number),
        email=common.email(number),
        password=hashed,
        is_staff=number == 1,
        is_superuser=number == 1,
    )
    for number in range(1, common.USERS + 1)
]
User.objects.bulk_create(users, batch_size=2000)
if apps.is_installed("allauth.account"):
    from allauth.account.models import EmailAddress

    people = User.objects.all()
    addresses = [EmailAddress(user=one, email=one.email, verified=True, primary=True) for one in people]
    EmailAddress.objects.bulk_create(addresses, batch_size=2000)
