"""SQLAlchemy: the ORM with three drivers, upserts, eager loading, bulk updates."""

import asyncio
import os

from sqlalchemy import URL, BigInteger, String, create_engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


# -- model
class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    email: Mapped[str] = mapped_column(String, unique=True)
    note: Mapped[str | None] = mapped_column(String)
    visits: Mapped[int | None] = mapped_column(BigInteger)


def upsert(email, note):
    statement = insert(User).values(email=email, note=note)
    return statement.on_conflict_do_update(index_elements=[User.email], set_={"note": statement.excluded.note})
# -- end


def url(driver):
    return URL.create(
        f"postgresql+{driver}", username=os.environ["PGUSER"], database=os.environ["PGDATABASE"],
        query={"host": os.environ["PGHOST"], "port": os.environ["PGPORT"]})


def work(session):
    session.execute(delete(User))
    session.add_all([User(email=f"user{n}@example.org", note=f"note {n % 3}", visits=n % 2) for n in range(10)])
    session.commit()
    session.execute(upsert("user1@example.org", "upserted"))
    session.execute(upsert("new@example.org", "inserted"))
    # -- queries
    one = session.scalars(select(User).where(User.email == "user1@example.org")).one()
    several = session.scalars(
        select(User.email).where(User.email.in_(["user2@example.org", "user3@example.org"])).order_by(User.email)).all()
    counted = session.execute(select(User.note, func.count()).group_by(User.note).order_by(User.note)).all()
    alike = session.scalars(select(User.email).where(User.email.like("user%")).order_by(User.email.desc()).limit(3)).all()
    # -- end
    print(one.email, one.note, several, counted, alike)
    print(session.scalar(select(func.count()).where(User.email != "user1@example.org")))
    print(session.scalar(select(func.lower(User.email)).where(User.email == "user4@example.org")))
    print(session.scalars(select(User.email).where(User.visits == 1).order_by(User.email)).all())
    print(session.execute(update(User).where(User.email == "user5@example.org").values(note="updated")).rowcount)
    one.email = "changed@example.org"
    session.commit()
    print(session.scalars(select(User.email).order_by(User.email)).all())
    session.add(User(email="changed@example.org"))
    try:
        session.commit()
    except IntegrityError as error:
        session.rollback()
        print(type(error).__name__)


def main():
    for driver in ("psycopg", "psycopg2"):
        engine = create_engine(url(driver))
        with Session(engine) as session:
            work(session)
        engine.dispose()
    asyncio.run(with_asyncpg())


async def with_asyncpg():
    engine = create_async_engine(url("asyncpg"))
    async with engine.connect() as connection:
        await connection.run_sync(lambda sync: work(Session(sync)))
    await engine.dispose()


main()
