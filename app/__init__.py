"""The service: connections, messages, and the handlers that it is told to plug in."""
