"""Minutes of training by key and day, out of the attempts of jobs."""

from datetime import date
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

# An attempt over midnight counts on each of its days.
_MINUTES = text("""
SELECT jobs.created_by, day::date,
       sum(extract(epoch FROM least(ended, day + interval '1 day') - greatest(started, day))) / 60
FROM (
  SELECT job_id, started_at AT TIME ZONE 'UTC' AS started,
         coalesce(ended_at, clock_timestamp()) AT TIME ZONE 'UTC' AS ended
  FROM job_attempts
  WHERE ended_at IS NULL OR ended_at > CAST(:since AS timestamp) AT TIME ZONE 'UTC'
) AS attempts
JOIN jobs ON jobs.id = attempts.job_id
CROSS JOIN generate_series(date_trunc('day', started), ended, interval '1 day') AS day
WHERE jobs.workspace_id = :workspace_id
  AND day BETWEEN CAST(:since AS date) AND CAST(:until AS date)
GROUP BY 1, 2
""")


def training_minutes(
    db: Session, workspace_id: UUID, since: date, until: date
) -> dict[tuple[date, UUID | None], float]:
    """Of all attempts, those that run now among them, by days in UTC, both ends among them. Without
    a key: of jobs that no key submitted."""
    values = {"workspace_id": workspace_id, "since": since, "until": until}
    return {(day, key_id): float(minutes) for key_id, day, minutes in db.execute(_MINUTES, values)}
