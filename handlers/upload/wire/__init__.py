"""The upload protocol: messages, code words, names, state machines. Pure: no I/O, no loop, no clock."""
