from eps.data.listing import set_aside


def test_what_is_left_once_some_are_put_aside_is_divided_by_another_chance() -> None:
    """By the same one nobody of them would be chosen, and a network scored on what it has learnt."""
    ids = [f"photo {number}" for number in range(1000)]
    left = set_aside(ids, 0.1)["train"]
    assert set_aside(left, 0.1) == {"train": left}
    again = set_aside(left, 0.1, chance="labels ")
    assert 50 < len(again["val"]) < 140
    assert set(again["val"]) | set(again["train"]) == set(left)
