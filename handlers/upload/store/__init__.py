"""Where the bytes are: staged, made durable, published under their final names."""
