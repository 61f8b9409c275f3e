"""Any text is a value, and is told as it was typed."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from eps.command_line import config_dir, ordered, readable, typed
from eps.errors import UserError


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])), st.sampled_from(["ü", "a=b", "~'"]))
def test_any_path_is_a_value(text: str, odd: str) -> None:
    """Read as it stands: quotes and backslashes, too."""
    path = f"{odd}{text}{odd}"
    override = OverridesParser.create().parse_override(readable(f"source={path}"))
    assert (override.key_or_group, override.value()) == ("source", path)


@pytest.mark.parametrize(
    "setting", ["source=a=b", "source=Mü (1)/x y", "name=2024_01_05", "data.classes=[a,b]", "a='b c'"]
)
def test_what_was_typed_is_had_back(setting: str) -> None:
    assert typed(readable(setting)) == setting


def test_settings_come_before_flags() -> None:
    words = ordered(["--config-dir", "here", "seed=1", "-m", "~hydra/sweeper"])
    assert words == ["seed=1", "~hydra/sweeper", "--config-dir", "here", "-m"]
    assert config_dir(words) == "here"
    assert config_dir(["seed=1"]) is None
    with pytest.raises(UserError, match="no option --seed: settings are written key=value"):
        ordered(["--seed", "1"])
