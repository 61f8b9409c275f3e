"""Stage 3's network: YOLACT's instances and a semantic map; in our design both from stage 1's prototype planes."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eps.nn.box_head import BoxHead
from eps.nn.fpn import ExtraLevels
from eps.nn.mask_iou import MaskIoUNet
from eps.nn.normalization import Normalization
from eps.nn.tag_head import TagHead
from eps.nn.trunk import Trunk, TrunkOutput
from eps.ops.anchors import anchors
from eps.ops.prototypes import assemble

NOT_SHOWN = -1e4
"""Added to a class's logits leaves it no probability, in any precision."""


class AnchorSizes(NamedTuple):
    """Anchor scales of each level in pixels (a tuple a level, P3 first), and the ratios that all levels share.

    `square` anchors have the height of their width (the released YOLACT models of v1).
    """

    scales: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]
    square: bool = False


class SegmenterOutput(NamedTuple):
    offsets: Float[Tensor, "b n 4"]
    logits: Float[Tensor, "b n c1"]
    """Class logits of each anchor, background first."""
    coefficients: Float[Tensor, "b n k"]
    prototypes: Float[Tensor, "b k h w"]
    semantic: Float[Tensor, "b c1 h w"]
    """Semantic map logits, background last."""
    anchors: Float[Tensor, "n 4"]
    """Centre-size, relative to the image."""
    tags: Float[Tensor, "b c"] | None = None
    """Tag logits of each photo as a whole, where the segmenter has a tag head."""


class Segmenter(nn.Module):
    """Photo -> boxes, classes and mask coefficients of every anchor, prototype planes, and C + 1 semantic maps.

    Levels P3..P7 carry anchors; the prototype head is at stride 4. Without a `semantic_head` the semantic map is a
    combination of the same planes, with learned coefficients; with one, a convolution of P3, it is that of YOLACT: a
    sigmoid a class and no background, whose logit is then 0, so that it wins where every sigmoid is below one half.
    `mask_iou` says how well masks fit (YOLACT++); `forward` leaves it to whoever has chosen masks. With a `tag_head`
    the photo as a whole says which classes it shows: once trained, the class logits of anchors and pixels go by that.
    """

    coefficients: nn.Parameter | None

    def __init__(
        self,
        *,
        trunk: Trunk,
        extra: ExtraLevels,
        box_head: BoxHead,
        semantic_head: nn.Conv2d | None,
        mask_iou: MaskIoUNet | None,
        tag_head: TagHead | None = None,
        anchor_sizes: AnchorSizes,
        classes: int,
        mean: Tensor,
        std: Tensor,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.extra = extra
        self.box_head = box_head
        self.semantic_head = semantic_head
        self.mask_iou = mask_iou
        self.tag_head = tag_head
        self.has_semantic = True  # not where released weights came without
        self.anchor_sizes = anchor_sizes
        self._known_anchors: tuple[object, Tensor] | None = None  # no state: the last ones, and what they are for
        if semantic_head is None:
            self.coefficients = nn.Parameter(torch.empty(classes + 1, trunk.prototypes))
            nn.init.normal_(self.coefficients, std=trunk.prototypes**-0.5)
        else:
            self.coefficients = None
        self.normalize = Normalization(mean=mean, std=std)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> SegmenterOutput:
        trunk = self.trunk(images)
        levels = [*trunk.levels[-3:], *self.extra(trunk.levels[-1])]
        head = self.box_head(levels)
        grids = [(level.shape[-2], level.shape[-1]) for level in levels]
        size = (images.shape[-2], images.shape[-1])
        output = SegmenterOutput(
            offsets=head.offsets,
            logits=head.logits,
            coefficients=head.coefficients,
            prototypes=trunk.prototypes,
            semantic=self._semantic(trunk),
            anchors=self._anchors(grids, size, images.device),
            tags=None if self.tag_head is None else self.tag_head(trunk.features),
        )
        return output if self.training else _given_tags(output)

    def _semantic(self, trunk: TrunkOutput) -> Float[Tensor, "b c1 h w"]:
        if self.coefficients is not None:
            return assemble(trunk.prototypes, self.coefficients)
        assert self.semantic_head is not None
        return F.pad(self.semantic_head(trunk.levels[-3]), (0, 0, 0, 0, 0, 1))

    def anchors_of(self, size: tuple[int, int]) -> Float[Tensor, "n 4"]:
        """The anchors of a photo of a size (height, width), before the network has seen it: every halving rounds up."""
        strides = [8 * 2**level for level in range(len(self.anchor_sizes.scales))]
        grids = [(ceil(size[0] / stride), ceil(size[1] / stride)) for stride in strides]
        return self._anchors(grids, size, self.normalize.mean.device)

    def _anchors(self, grids: Sequence[tuple[int, int]], size: tuple[int, int], device: torch.device) -> Tensor:
        """Made anew for another size or device alone: on a GPU each making would be a copy to it."""
        if torch.compiler.is_compiling():  # sizes are symbols there, and tensors fakes: neither may be kept
            return self._made_anchors(grids, size).to(device)
        wanted = (grids, size, device)
        if self._known_anchors is None or self._known_anchors[0] != wanted:
            with torch.inference_mode(False):  # what is made now may serve training later
                self._known_anchors = (wanted, self._made_anchors(grids, size).to(device))
        return self._known_anchors[1]

    def _made_anchors(self, grids: Sequence[tuple[int, int]], size: tuple[int, int]) -> Tensor:
        sizes = self.anchor_sizes
        return anchors(grids=grids, scales=sizes.scales, ratios=sizes.ratios, size=size, square=sizes.square)


def _given_tags(output: SegmenterOutput) -> SegmenterOutput:
    """Pixels keep to the classes that the photo is likelier than not to show, and to the likeliest in any case.

    An anchor's class logits are given the log probability of the class's tag: what is doubtful scores less. The
    background's stay. While training all this stays apart: tags of the training photos are soon known by heart, and
    pixels would learn less.
    """
    if output.tags is None:
        return output
    shown = (output.tags > 0) | (output.tags == output.tags.amax(dim=1, keepdim=True))
    held = torch.where(shown, 0.0, NOT_SHOWN)
    return output._replace(
        logits=output.logits + F.pad(F.logsigmoid(output.tags), (1, 0))[:, None],
        semantic=output.semantic + F.pad(held, (0, 1))[:, :, None, None],
    )
