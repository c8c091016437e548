"""Interfaces of other tools: thin translations that compute no numbers of their own."""
