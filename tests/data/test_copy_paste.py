import torch

from eps.data.copy_paste import paste
from eps.data.samples import PhotoInstances


def sample(rows: list[list[int]], *, brightness: float, uncertain: bool = False) -> PhotoInstances:
    """A photo of one brightness; each value 1, 2, ... in its label map is one instance of class value - 1."""
    semantic = torch.tensor(rows, dtype=torch.uint8)
    values = [v for v in semantic.unique().tolist() if v not in (0, 255)]
    masks = torch.stack([semantic == v for v in values]) if values else torch.zeros((0, *semantic.shape)).bool()
    return PhotoInstances(
        photo=torch.full((3, *semantic.shape), brightness),
        semantic=semantic,
        masks=masks,
        classes=torch.tensor([v - 1 for v in values], dtype=torch.int64),
        uncertain=torch.full((len(values),), uncertain),
        tags=torch.isin(torch.arange(5), torch.tensor([v - 1 for v in values], dtype=torch.int64)).float(),
    )


TARGET = sample([[1, 1, 0, 255], [1, 1, 0, 3]], brightness=0.2, uncertain=True)
SOURCE = sample([[0, 2, 255, 5], [0, 2, 0, 5]], brightness=0.9)


def pasted(*chosen: bool, min_area: int = 1) -> PhotoInstances:
    return paste(TARGET, SOURCE, torch.tensor(chosen, dtype=torch.bool), min_area=min_area)


def test_nothing_chosen_changes_nothing() -> None:
    assert all(torch.equal(a, b) for a, b in zip(pasted(False, False), TARGET, strict=True))


def test_tags_are_those_of_the_photo_and_of_what_was_pasted() -> None:
    assert pasted(False, False).tags.tolist() == [1, 0, 1, 0, 0]
    assert pasted(False, True).tags.tolist() == [1, 0, 1, 0, 1]
    assert TARGET.tags.tolist() == [1, 0, 1, 0, 0]


def test_chosen_instances_cover_what_is_there() -> None:
    made = pasted(True, False)
    assert made.semantic.tolist() == [[1, 2, 0, 255], [1, 2, 0, 3]]
    assert made.classes.tolist() == [0, 2, 1]
    assert made.uncertain.tolist() == [True, True, False]
    assert made.masks.long().tolist() == [
        [[1, 0, 0, 0], [1, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 1]],
        [[0, 1, 0, 0], [0, 1, 0, 0]],
    ]
    assert made.photo[0].tolist() == torch.tensor([[0.2, 0.9, 0.2, 0.2]] * 2).tolist()


def test_what_is_covered_is_dropped() -> None:
    made = pasted(False, True)
    assert made.semantic.tolist() == [[1, 1, 0, 5], [1, 1, 0, 5]]
    assert made.classes.tolist() == [0, 4]
    assert pasted(True, True, min_area=3).classes.tolist() == [1, 4]


def test_photos_without_instances() -> None:
    blank = sample([[0, 0, 0, 0]] * 2, brightness=0.5)
    made = paste(blank, SOURCE, torch.tensor([True, False]), min_area=1)
    assert made.classes.tolist() == [1]
    nothing = paste(TARGET, blank, torch.zeros(0, dtype=torch.bool), min_area=1)
    assert all(torch.equal(a, b) for a, b in zip(nothing, TARGET, strict=True))


def test_inputs_stay_as_they_are() -> None:
    before = TARGET.semantic.clone(), TARGET.masks.clone(), TARGET.photo.clone()
    pasted(True, True)
    after = TARGET.semantic, TARGET.masks, TARGET.photo
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
