"""One WebSocket, from the kernel to its handler."""
