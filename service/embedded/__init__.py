"""PostgreSQL and Redis from wheels, and the supervisor that runs everything on one machine."""
