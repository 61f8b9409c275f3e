import torch

from eps.nn.normalization import Normalization


def test_each_channel_by_its_own_numbers() -> None:
    mean, std = torch.tensor([0.5, 0.0, 1.0]), torch.tensor([0.5, 2.0, 0.25])
    made = Normalization(mean=mean, std=std)(torch.full((2, 3, 4, 5), 0.5))
    assert made[:, :, 0, 0].tolist() == [[0.0, 0.25, -2.0]] * 2
    assert (made == made[:, :, :1, :1]).all()


def test_it_follows_its_network_and_is_in_no_checkpoint() -> None:
    made = Normalization(mean=torch.zeros(3), std=torch.ones(3))
    assert made.to("meta").mean.is_meta
    assert not made.state_dict()
