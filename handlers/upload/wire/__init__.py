"""What is said about uploads, and the rules of the conversation. Pure: no I/O, no loop, no clock."""
