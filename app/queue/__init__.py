"""The queue of jobs in Redis, by RQ: its connection, the jobs that it may hold, and what is done with it."""
