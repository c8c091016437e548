"""Interfaces of other tools: thin translations, no numbers of their own."""
