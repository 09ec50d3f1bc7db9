"""Django: the ORM and migrations of models with a key of their own.

Prints a line for each step. Against a router and against a plain server the lines must be the same.
Reads libpq's variables from the environment.
"""

import datetime
import decimal
import os
import sys
import types
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
# An application without files: its models and its migrations are in this one.
shop = types.ModuleType("shop")
shop.__path__ = []
shop.__file__ = __file__
sys.modules["shop"] = shop
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, IntegrityError, connection, migrations, models, transaction  # noqa: E402

KEYS = range(1, 21)
NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)


class Customer(models.Model):
    id = models.BigIntegerField(primary_key=True)
    name = models.TextField()
    number = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    document = models.JSONField(null=True)
    at = models.DateTimeField(null=True)
    raw = models.BinaryField(null=True)
    token = models.UUIDField(null=True)

    class Meta:
        app_label = "shop"
        db_table = "django_customers"


class Order(models.Model):
    """Lies with its customer: the customer's key is the shard key, and part of what is unique."""

    row = models.UUIDField(default=uuid.uuid4, primary_key=True)
    customer = models.ForeignKey(Customer, models.DO_NOTHING, db_constraint=False, db_index=False)
    amount = models.IntegerField()

    class Meta:
        app_label = "shop"
        db_table = "django_orders"
        managed = False


class Migration(migrations.Migration):
    # A schema change runs on every shard, which it cannot within a transaction of the client.
    atomic = False
    initial = True
    operations = [
        migrations.CreateModel(
            "Visit",
            [
                ("id", models.UUIDField(primary_key=True)),
                ("page", models.TextField()),
            ],
            options={"db_table": "django_visits"},
        ),
        migrations.AddField("Visit", "seconds", models.IntegerField(null=True)),
        migrations.AddIndex("Visit", models.Index(fields=["page"], name="django_visits_page")),
    ]


shop.migrations = types.ModuleType("shop.migrations")
shop.migrations.__path__ = []
shop.migrations.__file__ = __file__
first = types.ModuleType("shop.migrations.0001_initial")
first.Migration = Migration
sys.modules["shop.migrations"] = shop.migrations
sys.modules["shop.migrations.0001_initial"] = first


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
        updated = Customer.objects.filter(pk=key).update(number=models.F("number") + 1)
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
        Order.objects.bulk_create(rows)
        orders = Order.objects.filter(customer_id=key)
        step("bulk", orders.count(), orders.aggregate(models.Sum("amount")))
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
        columns = connection.introspection.get_table_description(cursor, "django_visits")
        step("columns", [(column.name, column.null_ok) for column in columns])
        step("constraints", sorted(connection.introspection.get_constraints(cursor, "django_visits")))
    with connection.schema_editor(atomic=False) as editor:
        editor.create_model(Customer)


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
    for query in (Customer.objects.all(), Customer.objects.filter(pk__in=list(KEYS))):
        try:
            list(query)
        except DatabaseError as error:
            step("refused", sqlstate(error))
    try:
        with connection.schema_editor() as editor:
            editor.delete_model(Customer)
    except DatabaseError as error:
        step("schema in a transaction", sqlstate(error))
    connection.close()
    step("after", Customer.objects.filter(pk=1).exists())


{"migrate": migrate, "scenario": scenario, "refused": refused}[sys.argv[1]]()
step("end")
