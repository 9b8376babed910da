"""Signs of life of processes that no other row tells of."""

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.db.tables import Heartbeat

REAPER = "reaper"


def beat(db: Session, name: str) -> None:
    """Says "still at work", in the transaction of the work itself: what fails says nothing."""
    now = {"seen_at": func.clock_timestamp()}
    statement = insert(Heartbeat).values(name=name, **now)
    db.execute(statement.on_conflict_do_update(index_elements=[Heartbeat.name], set_=now))
