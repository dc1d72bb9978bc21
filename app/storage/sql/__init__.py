"""The ledger on SQLite or PostgreSQL, by SQLModel."""
