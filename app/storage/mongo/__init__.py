"""The ledger on MongoDB, by Motor."""
