"""Attacks on a running installation: what one sender can do to the others, measured."""
