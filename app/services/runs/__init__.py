"""Reading, cancelling and repeating runs, and the lanes they run in."""
