"""Hooks: who asks to be told of each stored upload is told at least once, and who may refuse one is asked."""
