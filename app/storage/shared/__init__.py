"""Rules that every ledger keeps in the same way."""
