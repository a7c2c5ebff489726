"""The store: bytes are staged, made durable, and published under their final names."""
