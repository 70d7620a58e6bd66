"""What callers notice of a Redis that is frozen, dead, unreachable, slow or flapping."""
