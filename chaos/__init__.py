"""The fault campaign: random faults under a steady load, and checks of what must hold afterwards."""
