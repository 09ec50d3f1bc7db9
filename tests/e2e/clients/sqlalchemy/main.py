"""SQLAlchemy over psycopg, psycopg2 or asyncpg, as the second argument names it.

Prints a line for each step. Against a router and against a plain server the lines must be the same.
Reads libpq's variables from the environment.
"""

import asyncio
import datetime
import decimal
import sys
import uuid

import sqlalchemy as sa
from sqlalchemy import exc, orm
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

KEYS = range(1, 21)
NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
DRIVER = sys.argv[2]
OPTIONS = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 0}

Base = orm.declarative_base()


class Item(Base):
    __tablename__ = f"sqlalchemy_{DRIVER}_items"
    k = sa.Column(sa.BigInteger, primary_key=True, autoincrement=False)
    v = sa.Column(sa.Text)
    n = sa.Column(sa.Numeric(12, 3))
    j = sa.Column(pg.JSONB)
    a = sa.Column(pg.ARRAY(sa.Integer))
    ts = sa.Column(sa.DateTime(timezone=True))
    b = sa.Column(sa.LargeBinary)
    u = sa.Column(pg.UUID(as_uuid=True))
    f = sa.Column(sa.Boolean)
    d = sa.Column(sa.Date)
    r = sa.Column(sa.Float)


class Token(Base):
    __tablename__ = f"sqlalchemy_{DRIVER}_tokens"
    k = sa.Column(pg.UUID(as_uuid=True), primary_key=True)
    v = sa.Column(sa.Text)


class Row(Base):
    __tablename__ = f"sqlalchemy_{DRIVER}_rows"
    k = sa.Column(sa.BigInteger, primary_key=True, autoincrement=False)
    v = sa.Column(sa.Text, primary_key=True)


# Many rows in one statement; in their order, SQLAlchemy 2 inserts from VALUES with a counter.
SORTED = {"sort_by_parameter_order": True} if sa.__version__ >= "2" else {}


def many(key):
    rows = Row.__table__
    values = [{"k": key, "v": f"{key} {n}"} for n in range(20)]
    if SORTED:
        return sa.insert(rows).returning(rows.c.v, **SORTED), values
    return sa.insert(rows).values(values).returning(rows.c.v), ()


def step(name, *facts):
    print(f"{name}:", *map(repr, facts))


def item(key):
    return Item(
        k=key, v=f"it's {key}", n=decimal.Decimal(key) / 8, j={"key": key}, a=[key, None], ts=NOON,
        b=bytes([0, 255, key]), u=uuid.UUID(int=key), f=key % 2 == 0, d=NOON.date(), r=key / 3,
    )  # fmt: skip


def shown(found):
    if found is None:
        return None
    return [getattr(found, column.name) for column in Item.__table__.columns]


def scenario():
    engine = sa.create_engine(f"postgresql+{DRIVER}://", **OPTIONS)
    with engine.connect() as connection:
        step("select", connection.execute(sa.text("SELECT 1")).scalar())
        step("version", engine.dialect.server_version_info[:1], engine.dialect.default_schema_name)
    # One transaction a key, since a transaction stays on one shard.
    for key in KEYS:
        with orm.Session(engine) as session, session.begin():
            session.add(item(key))
            session.flush()
            session.execute(sa.update(Item).where(Item.k == key).values(v="new"))
    for key in KEYS:
        with engine.begin() as connection:
            step("many", connection.execute(*many(key)).scalars().all())
    for key in KEYS:
        with orm.Session(engine) as session:
            step("get", shown(session.get(Item, key)))
        with orm.Session(engine) as session, session.begin():
            session.get(Item, key).v = "changed"
        with orm.Session(engine) as session:
            session.get(Item, key).v = "lost"
            session.flush()
            # Left without a commit: the pool rolls it back.
        with orm.Session(engine) as session:
            step("query", session.scalars(sa.select(Item.v).where(Item.k == key)).all())
    with orm.Session(engine) as session, session.begin():
        session.delete(session.get(Item, 20))
    for key in KEYS:
        with orm.Session(engine) as session, session.begin():
            session.add(Token(k=uuid.UUID(int=key), v=str(key)))
        with orm.Session(engine) as session:
            step("uuid key", session.get(Token, uuid.UUID(int=key)).v)
    failures(engine)
    upserts(engine)
    reflection(engine)
    engine.dispose()


def failures(engine):
    with orm.Session(engine) as session:
        session.add(Item(k=1))
        try:
            session.commit()
        except exc.IntegrityError as error:
            state = getattr(error.orig, "sqlstate", None) or error.orig.pgcode
            step("duplicate", state)
        session.rollback()
        step("after", session.get(Item, 1).v)
    with orm.Session(engine) as session, session.begin():
        try:
            with session.begin_nested():
                session.add(Item(k=1))
        except exc.IntegrityError:
            step("savepoint", session.get(Item, 1).v)


def upserts(engine):
    insert = pg.insert(Item.__table__).values(k=300, v="first")
    insert = insert.on_conflict_do_update(index_elements=["k"], set_={"v": "second"})
    for _ in range(2):
        with engine.begin() as connection:
            step("upsert", connection.execute(insert.returning(Item.__table__.c.v)).scalar())
    serializable = engine.execution_options(isolation_level="SERIALIZABLE")
    with serializable.connect() as connection:
        step("isolation", connection.execute(sa.text("SHOW transaction_isolation")).scalar())
    automatic = engine.execution_options(isolation_level="AUTOCOMMIT")
    with automatic.connect() as connection:
        for key in KEYS:
            query = sa.select(Item.__table__.c.v).where(Item.__table__.c.k == key)
            step("autocommit", connection.execute(query).scalar())


def reflection(engine):
    inspector = sa.inspect(engine)
    table = Item.__tablename__
    step("has table", inspector.has_table(table), inspector.has_table("sqlalchemy_nothing"))
    step("columns", [(c["name"], str(c["type"])) for c in inspector.get_columns(table)])
    step("primary key", inspector.get_pk_constraint(table)["constrained_columns"])
    step("names", table in inspector.get_table_names(), "public" in inspector.get_schema_names())
    for of in ("foreign_keys", "indexes", "unique_constraints", "check_constraints"):
        step(of, getattr(inspector, f"get_{of}")(table))
    step("comment", inspector.get_table_comment(table))
    step("views", inspector.get_view_names())
    metadata = sa.MetaData()
    metadata.reflect(engine, only=[table])
    step("reflected", sorted(metadata.tables))


async def concurrent():
    engine = create_async_engine(f"postgresql+{DRIVER}://", **OPTIONS)
    for key in KEYS:
        async with AsyncSession(engine) as session, session.begin():
            session.add(item(key))
        async with engine.begin() as connection:
            step("many", (await connection.execute(*many(key))).scalars().all())
        async with AsyncSession(engine) as session, session.begin():
            (await session.get(Item, key)).v = "changed"
        async with AsyncSession(engine) as session:
            (await session.get(Item, key)).v = "lost"
            await session.flush()
        async with AsyncSession(engine) as session:
            step("get", shown(await session.get(Item, key)))
            query = sa.select(Item.v).where(Item.k == key)
            step("query", (await session.execute(query)).scalars().all())
    async with AsyncSession(engine) as session:
        session.add(Item(k=1))
        try:
            await session.commit()
        except exc.IntegrityError as error:
            step("duplicate", error.orig.pgcode)
        await session.rollback()
        step("after", (await session.get(Item, 1)).v)
    async with engine.connect() as connection:
        names = await connection.run_sync(lambda c: sa.inspect(c).get_columns(Item.__tablename__))
        step("columns", [(c["name"], str(c["type"])) for c in names])
    await engine.dispose()


def refused():
    engine = sa.create_engine(f"postgresql+{DRIVER}://", **OPTIONS)
    with orm.Session(engine) as session:
        try:
            session.scalars(sa.select(sa.func.count()).select_from(Item, orm.aliased(Item))).all()
        except exc.DBAPIError as error:
            step("refused", getattr(error.orig, "sqlstate", None) or error.orig.pgcode)
        session.rollback()
        session.add_all([Token(k=uuid.uuid4(), v="several shards") for _ in range(20)])
        session.commit()
        step("after", session.scalar(sa.text("SELECT 1")))


async def refused_concurrently():
    engine = create_async_engine(f"postgresql+{DRIVER}://", **OPTIONS)
    async with AsyncSession(engine) as session:
        try:
            await session.execute(sa.select(sa.func.count()).select_from(Item, orm.aliased(Item)))
        except exc.DBAPIError as error:
            step("refused", error.orig.pgcode)
        await session.rollback()
        step("after", (await session.execute(sa.text("SELECT 1"))).scalar())
    await engine.dispose()


if DRIVER == "asyncpg":
    asyncio.run({"scenario": concurrent, "refused": refused_concurrently}[sys.argv[1]]())
else:
    {"scenario": scenario, "refused": refused}[sys.argv[1]]()
step("end")
