"""How railroad's scenes are drawn."""
