"""Open uploads in memory: their writers, reserved space, expiry."""
