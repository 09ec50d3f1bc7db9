"""Django: the ORM and migrations of the application `shop` beside this file.

Prints a line for each step. Against a router and against a plain server the lines must be the same.
Reads libpq's variables from the environment.
"""

import datetime
import decimal
import os
import sys
import uuid
import warnings

import django
from django.conf import settings

warnings.simplefilter("ignore")
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "PASSWORD": os.environ.get("PGPASSWORD", ""),
            "NAME": os.environ["PGDATABASE"],
            # Sent as a SET of its own by Django where the server's is another.
            "TIME_ZONE": "Europe/Berlin",
            # A server-side cursor is a WITH HOLD cursor outside a transaction.
            "DISABLE_SERVER_SIDE_CURSORS": True,
        }
    },
    INSTALLED_APPS=["shop"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, IntegrityError, connection, transaction  # noqa: E402
from django.db.models import F, Sum  # noqa: E402
from shop.models import Customer, Order  # noqa: E402

KEYS = range(1, 21)
NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)


def step(name, *facts):
    print(f"{name}:", *map(repr, facts))


def sqlstate(error):
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or cause.pgcode


def shown(customer):
    values = [getattr(customer, field.name) for field in Customer._meta.fields]
    return [bytes(value) if isinstance(value, memoryview) else value for value in values]


def write():
    for key in KEYS:
        Customer.objects.create(
            id=key, name=f"it's {key}", number=decimal.Decimal(key) / 8, document={"key": key},
            at=NOON, raw=bytes([0, 255, key]), token=uuid.UUID(int=key),
        )  # fmt: skip
    Customer.objects.create(id=100, name="without")
    for key in (*KEYS, 100):
        step("get", shown(Customer.objects.get(pk=key)))
        customer = Customer.objects.get(pk=key)
        customer.name = "saved"
        # The key of a row that is read does not change: only other columns are set.
        customer.save()
        updated = Customer.objects.filter(pk=key).update(number=F("number") + 1)
        step("update", updated, Customer.objects.values_list("name", "number").get(pk=key))
    for key in KEYS:
        step("either", Customer.objects.update_or_create(pk=key, defaults={"name": "again"})[1])
    step("created", Customer.objects.get_or_create(pk=200, defaults={"name": "new"})[1])
    step("exists", Customer.objects.filter(pk=200).exists(), Customer.objects.filter(pk=201).exists())
    step("delete", Customer.objects.filter(pk=200).delete())
    step("json", Customer.objects.filter(pk=3, document__key=3).count())


def joins():
    for key in KEYS:
        rows = [Order(row=uuid.UUID(int=key * 10 + n), customer_id=key, amount=n) for n in range(3)]
        # From 5.2 on its INSERT reads arrays by UNNEST.
        Order.objects.bulk_create(rows)
        orders = Order.objects.filter(customer_id=key)
        step("bulk", orders.count(), orders.aggregate(Sum("amount")))
        # The key of both tables is shown by the condition and the join.
        joined = Order.objects.select_related("customer").filter(customer_id=key).order_by("amount")
        step("join", [(order.amount, order.customer.name) for order in joined])
    step("reverse", Customer.objects.get(pk=4).order_set.count())


def transactions():
    for key in KEYS:
        with transaction.atomic():
            customer = Customer.objects.select_for_update().get(pk=key)
            customer.name = "kept"
            customer.save(update_fields=["name"])
        try:
            with transaction.atomic():
                Customer.objects.filter(pk=key).update(name="lost")
                raise KeyError
        except KeyError:
            step("transaction", Customer.objects.get(pk=key).name)
    with transaction.atomic():
        try:
            with transaction.atomic():
                Customer.objects.create(id=1, name="again")
        except IntegrityError as error:
            step("savepoint", sqlstate(error))
        step("after savepoint", Customer.objects.get(pk=1).name)


def migrate():
    call_command("migrate", verbosity=0, interactive=False)
    call_command("migrate", verbosity=0, interactive=False)
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        step("tables", "django_visits" in tables)
        step("constraints", sorted(connection.introspection.get_constraints(cursor, "django_visits")))


def scenario():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1, current_setting('TimeZone')")
        step("select", cursor.fetchone())
    write()
    joins()
    transactions()
    connection.close()
    step("reconnected", Customer.objects.get(pk=5).name)


def refused():
    try:
        with connection.schema_editor() as editor:
            editor.delete_model(Customer)
            raise LookupError("taken back")
    except LookupError as error:
        step("schema in a transaction", str(error))
    connection.close()
    step("after", Customer.objects.filter(pk=1).exists())


{"migrate": migrate, "scenario": scenario, "refused": refused}[sys.argv[1]]()
step("end")
