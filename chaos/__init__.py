"""The fault campaign: random faults under a steady load, and what must hold afterwards."""
