"""What a manifest says, and the rules by which it is checked."""
