import torch
from torchvision.transforms import v2

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


def test_bytes_are_what_floats_are_and_padding_is_zero() -> None:
    """To the bit as if the photo had been made floats, and padded with the mean colour, before."""
    normalize = Normalization(mean=torch.tensor([0.485, 0.456, 0.406]), std=torch.tensor([0.229, 0.224, 0.225]))
    colours = torch.arange(256, dtype=torch.uint8).expand(2, 3, 4, 256)
    opaque = torch.randint(2, (2, 1, 4, 256), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    floats = v2.functional.to_dtype(colours, torch.float32, scale=True)
    padded = floats.where(opaque == 1, normalize.mean)
    made = normalize(torch.cat([colours, 255 * opaque], dim=1))
    assert torch.equal(made.view(torch.int32), normalize(padded).view(torch.int32))
    assert not made.where(opaque == 0, 0).any()
    assert made.any(dim=1).sum() == (opaque == 1).sum()
