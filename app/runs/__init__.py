"""How a run gets into the queue, and how it ends, whichever process is responsible for it."""
