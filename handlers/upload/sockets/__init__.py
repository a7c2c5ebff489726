"""A WebSocket drives the state machines of `wire`."""
