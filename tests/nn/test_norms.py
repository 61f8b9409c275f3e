from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from eps.nn.norms import batch_norms


def test_all_kinds_by_name_and_nothing_else() -> None:
    shared, timms, flat = nn.BatchNorm2d(2), BatchNormAct2d(2), nn.BatchNorm1d(2)
    network = nn.Sequential(nn.Conv2d(2, 2, 1), shared, nn.Sequential(timms, flat), shared, nn.GroupNorm(1, 2))
    assert batch_norms(network) == {"1": shared, "2.0": timms, "2.1": flat}


def test_a_norm_alone_and_none() -> None:
    assert list(batch_norms(nn.BatchNorm2d(2))) == [""]
    assert not batch_norms(nn.Linear(1, 1))
