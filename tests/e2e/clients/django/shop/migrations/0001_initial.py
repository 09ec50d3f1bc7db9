"""A migration as `makemigrations` writes it, but for `atomic`."""

from django.db import migrations, models


class Migration(migrations.Migration):
    # A schema change runs on every shard, which it cannot within a transaction of the client.
    atomic = False
    initial = True
    operations = [
        migrations.CreateModel(
            "Customer",
            [
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("name", models.TextField()),
                ("number", models.DecimalField(decimal_places=3, max_digits=12, null=True)),
                ("document", models.JSONField(null=True)),
                ("at", models.DateTimeField(null=True)),
                ("raw", models.BinaryField(null=True)),
                ("token", models.UUIDField(null=True)),
            ],
            options={"db_table": "django_customers"},
        ),
        migrations.CreateModel(
            "Visit",
            [
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("page", models.TextField()),
            ],
            options={"db_table": "django_visits"},
        ),
        migrations.AddField("Visit", "seconds", models.IntegerField(null=True)),
        migrations.AddIndex("Visit", models.Index(fields=["page"], name="django_visits_page")),
    ]
