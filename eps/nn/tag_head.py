"""What a photo shows, as a whole: tag logits from the backbone's coarsest features."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

FRESH_BIAS = -2.0
"""A fresh head takes every class for rare, as most of a dataset's are in most photos."""


class TagHead(nn.Module):
    """One linear layer on the mean and the maximum of every feature, standardised over the features of a photo.

    Tags are exact where pseudo-masks are not, and a photo as a whole says more of its classes than any pixel does.
    """

    def __init__(self, *, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * channels, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, FRESH_BIAS)

    def forward(self, features: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c"]:
        pooled = [F.layer_norm(part, part.shape[1:]) for part in (features.mean(dim=(2, 3)), features.amax(dim=(2, 3)))]
        logits: Tensor = self.linear(torch.cat(pooled, dim=1))
        return logits
