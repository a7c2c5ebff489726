"""Open uploads in memory: who holds them, the space they were promised, when they expire."""
