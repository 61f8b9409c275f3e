"""What no run can do with: values of the right type that make no sense, refused by name before anything starts."""

from eps.schema import Config
from eps.validation.combinations import validate_combinations
from eps.validation.values import validate_values


def validate(cfg: Config) -> None:
    """Raise `UserError`, one line that names the key, for the first value that makes no sense."""
    validate_values(cfg)
    validate_combinations(cfg)
