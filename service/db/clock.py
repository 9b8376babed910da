"""The time by the database's clock: the clocks of the machines need not agree."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def now(db: Session) -> datetime:
    moment: datetime = db.scalars(select(func.clock_timestamp())).one()
    return moment
