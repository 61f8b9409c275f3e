"""Recipes: which verbs, in which order."""
