"""Shape annotations of `eps` are checked by beartype in every test."""

from jaxtyping import install_import_hook

_hook = install_import_hook("eps", "beartype.beartype")
