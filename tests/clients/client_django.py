"""Django's ORM, with server-side parameter binding on and off."""

import os
import sys

import django
from django.conf import settings
from django.db import IntegrityError, connection, models
from django.db.models import Count, Max


def configure(server_side_binding):
    settings.configure(
        DATABASES={"default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["PGDATABASE"], "USER": os.environ["PGUSER"],
            "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
            "OPTIONS": {"server_side_binding": server_side_binding},
        }},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def main():
    configure(sys.argv[1:] == ["server-side"])

    # -- model
    class User(models.Model):
        email = models.TextField(unique=True)
        note = models.TextField(null=True)
        visits = models.BigIntegerField(null=True)

        class Meta:
            app_label = "clients"
            db_table = "users"
            managed = False
    # -- end

    # -- queries
    User.objects.create(email="bob@example.org", note="created")
    found = User.objects.get(email="bob@example.org").note
    exact = list(User.objects.filter(email__exact="bob@example.org").values_list("email", "note"))
    User.objects.bulk_create(
        [User(email=f"user{n}@example.org", note=f"note {n % 3}", visits=n % 2) for n in range(10)])
    User.objects.bulk_create(
        [User(email="user1@example.org", note="upserted"), User(email="new@example.org", note="inserted")],
        update_conflicts=True, unique_fields=["email"], update_fields=["note"])
    several = User.objects.filter(email__in=["user1@example.org", "new@example.org"]).order_by("email")
    several = list(several.values_list("email", "note"))
    user, created = User.objects.update_or_create(email="user2@example.org", defaults={"note": "updated"})
    ordered = list(User.objects.order_by("-email").values_list("email", flat=True))
    counted = list(User.objects.values("note").annotate(n=Count("id")).order_by("note").values_list("note", "n"))
    # -- end
    print(found, exact, several, user.note, created, ordered, counted)
    print(User.objects.get_or_create(email="user3@example.org")[1])
    print(User.objects.filter(email="nobody").exists(), User.objects.filter(email__startswith="user").count())
    print(list(User.objects.filter(email__icontains="USER4").values_list("email", flat=True)))
    print(list(User.objects.filter(visits=1).order_by("email").values_list("email", flat=True)))
    print(User.objects.aggregate(last=Max("email")), User.objects.exclude(email="bob@example.org").count())
    print(User.objects.filter(email="user5@example.org").update(note="by update"))
    print(list(User.objects.distinct("note").order_by("note").values_list("note", flat=True)))
    changed = list(User.objects.filter(email__in=["user6@example.org", "user7@example.org"]).order_by("email"))
    for user in changed:
        user.note = "by bulk_update"
    print(User.objects.bulk_update(changed, ["note"]))
    print(list(User.objects.order_by("email").values_list("email", "note")))
    try:
        User.objects.create(email="bob@example.org")
    except IntegrityError as error:
        print(type(error).__name__)
    print(User.objects.filter(email="user9@example.org").delete()[0])
    connection.close()


main()
