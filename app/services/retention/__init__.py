"""What is removed, when, and by which rule: versions, test runs, objects without a record."""
