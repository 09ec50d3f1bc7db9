"""Models with keys of their own: numbers that a sequence gives would be given by each shard."""

import uuid

from django.db import models


class Customer(models.Model):
    id = models.BigIntegerField(primary_key=True)
    name = models.TextField()
    number = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    document = models.JSONField(null=True)
    at = models.DateTimeField(null=True)
    raw = models.BinaryField(null=True)
    token = models.UUIDField(null=True)

    class Meta:
        db_table = "django_customers"


class Order(models.Model):
    """Lies with its customer. Its table is made by SQL, since its primary key has two columns."""

    row = models.UUIDField(default=uuid.uuid4, primary_key=True)
    customer = models.ForeignKey(Customer, models.DO_NOTHING, db_constraint=False, db_index=False)
    amount = models.IntegerField()

    class Meta:
        db_table = "django_orders"
        managed = False


class Visit(models.Model):
    id = models.UUIDField(primary_key=True)
    page = models.TextField()
    seconds = models.IntegerField(null=True)

    class Meta:
        db_table = "django_visits"
        indexes = [models.Index(fields=["page"], name="django_visits_page")]
