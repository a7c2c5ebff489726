"""Authentication: a file of tokens, the credentials of a request, and the check before any handler."""
