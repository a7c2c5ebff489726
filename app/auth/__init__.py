"""Who may come: a file of tokens, what a request says of who sends it, and the check before any handler."""
