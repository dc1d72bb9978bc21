"""What is around the process of a job: its limits, the walls about it, and how its end is told."""
