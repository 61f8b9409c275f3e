"""What values must be like beside each other: settings that contradict another one, or have no use with it."""

from eps.errors import UserError
from eps.schema import Config
from eps.schema.convert import AnnotationTool
from eps.schema.crf import CRFBackend
from eps.schema.data import DataKind
from eps.schema.evaluate import Subject
from eps.schema.output import OutputFormat
from eps.schema.pseudo_masks import SaliencyUse
from eps.schema.segmenter import DeepLabBackbone, ReleasedNetwork, SegmenterDesign, SegmenterKind
from eps.schema.trunk import TrunkHead
from eps.validation.values import shown


def validate_combinations(cfg: Config) -> None:
    """Raise `UserError` for the first values that do not go together."""
    _validate_splits(cfg)
    _validate_evaluation(cfg)
    _validate_tag_head(cfg)
    _validate_released(cfg)
    _validate_prediction(cfg)
    _validate_saliency(cfg)
    _validate_data(cfg)
    _validate_conversion(cfg)
    _validate_trunk(cfg)
    _validate_segmenter(cfg)
    _validate_deeplab(cfg)


def _validate_evaluation(cfg: Config) -> None:
    """Masks of another project come with truth and class names, which nothing else needs."""
    with_predictions = {"truth": cfg.truth, "classes": cfg.classes, "ids": cfg.ids}
    for key, value in with_predictions.items():
        of_model = key == "classes" and cfg.model.endswith(".pth")
        if not cfg.predictions and not of_model and value not in ("", None):
            raise UserError(f"{key}={shown(value)}: goes with predictions=DIR, which is not given")
        if cfg.predictions and value in ("", None) and key != "ids":
            raise UserError(f"predictions={cfg.predictions}: give truth=DIR and classes=voc, coco, [a,b,...] or N, too")
    if cfg.evaluate.shuffle and not cfg.evaluate.photos:
        raise UserError("evaluate.shuffle=True: which photos are scored is the same without evaluate.photos=N")
    if cfg.evaluate.thresholds and cfg.evaluate.subject is not Subject.pseudo_masks:
        raise UserError("evaluate.thresholds: only pseudo-masks have maps to threshold; leave out evaluate=segmenter")


def _validate_tag_head(cfg: Config) -> None:
    if cfg.segmenter.tag_weight and cfg.segmenter.design is SegmenterDesign.released:
        raise UserError("segmenter.tag_weight: YOLACT's own design has no tag head; set it to 0, or design=shared")


def _validate_released(cfg: Config) -> None:
    """A network is told of a file that may not say it."""
    if cfg.released is ReleasedNetwork.auto:
        return
    if not cfg.model.endswith(".pth"):
        raise UserError(f"released={cfg.released}: goes with model=FILE.pth, a file of the released YOLACT code")
    ours = cfg.segmenter.kind is not SegmenterKind.yolact or cfg.segmenter.design is not SegmenterDesign.released
    if cfg.released is ReleasedNetwork.config and ours:
        raise UserError("released=config: choose the network that it was a copy of, such as segmenter=yolact_base")


def _validate_prediction(cfg: Config) -> None:
    semantic = (OutputFormat.auto, OutputFormat.png, OutputFormat.voc)
    written = (OutputFormat.onnx, OutputFormat.torch)  # by export, which no CRF concerns
    if cfg.format not in (*semantic, *written) and cfg.predict.crf is not CRFBackend.none:
        raise UserError(
            f"predict.crf refines semantic masks, format={cfg.format} shows instances: leave one of them out"
        )
    if cfg.format in written and cfg.segmenter.kind is SegmenterKind.deeplab and not cfg.model:
        raise UserError(f"format={cfg.format}: DeepLab has no boxes or prototypes, only YOLACT can be exported")


def _validate_saliency(cfg: Config) -> None:
    if cfg.source.startswith("shards:") and cfg.pseudo_masks.saliency is not SaliencyUse.none:
        raise UserError(
            f"pseudo_masks.saliency={cfg.pseudo_masks.saliency}: shards have no saliency maps; set it to none"
        )
    if cfg.source.startswith("shards:") and cfg.pseudo_masks.logit_adjustment:
        raise UserError("pseudo_masks.logit_adjustment: shards do not tell how frequent a tag is; set it to 0")


def _validate_splits(cfg: Config) -> None:
    """The embedded benchmark is generated: every split that is asked for must have a size."""
    if cfg.data.kind is not DataKind.railroad:
        return
    if cfg.data.size < 32:
        raise UserError(f"data.size={cfg.data.size}: the scenes of data=railroad need a side of 32 pixels or more")
    asked = {
        "data.train": [cfg.data.train],
        "data.scored": [cfg.data.scored],
        "data.val": [cfg.data.val],
        "data.also": cfg.data.also,
        "evaluate.splits": cfg.evaluate.splits,
        "saliency.splits": cfg.saliency.splits,
    }
    for key, splits in asked.items():
        for split in splits:
            if split not in cfg.data.sizes:
                known = ", ".join(cfg.data.sizes)
                raise UserError(f"{key}: data.sizes has no split {split!r}; choose one of {known}, or give it a size")


def _validate_data(cfg: Config) -> None:
    """What one kind of dataset alone can do with is left alone elsewhere."""
    node = cfg.data
    for key, idle, kinds in (
        ("val_share", 0, [DataKind.photos, DataKind.coco]),
        ("difficult", True, [DataKind.voc12]),
        ("download", False, [DataKind.voc12]),
    ):
        if node.kind not in kinds and getattr(node, key) != idle:
            names = " or ".join(f"data={kind}" for kind in kinds)
            raise UserError(f"data.{key}={shown(getattr(node, key))}: only {names} has use for it")


def _validate_conversion(cfg: Config) -> None:
    """labelme's files have masks of their own, and call nothing difficult."""
    node = cfg.convert
    if node.tool is AnnotationTool.voc_xml:
        return
    if node.masks or node.difficult:
        key = "masks" if node.masks else "difficult"
        raise UserError(f"convert.{key}={shown(getattr(node, key))}: only convert=voc_xml has use for it")


def _validate_trunk(cfg: Config) -> None:
    """A pyramid and a prototype head have sizes, and stand on features at strides 4 to 32."""
    node = cfg.trunk
    if node.head is TrunkHead.identity:
        return
    if node.output_stride != 32:
        raise UserError(f"trunk.output_stride={node.output_stride}: trunk.head=prototypes needs 32")
    for key in ("fpn_channels", "head_channels", "prototypes"):
        if getattr(node, key) < 1:
            raise UserError(f"trunk.{key}={getattr(node, key)}: trunk.head=prototypes needs 1 or more")


def _validate_segmenter(cfg: Config) -> None:
    """A segmenter goes on from one thing."""
    node = cfg.segmenter
    if node.weights != "none" and node.warm_start:
        raise UserError(
            f"segmenter.weights={node.weights}: they would replace stage 1's; set segmenter.warm_start=false"
        )
    if node.weights != "none" and node.kind is not SegmenterKind.yolact:
        raise UserError(
            f"segmenter.weights={node.weights}: only YOLACT has released weights; see segmenter.deeplab.weights"
        )
    if node.start and node.weights == "none":
        raise UserError(f"segmenter.start={node.start}: goes with segmenter.weights=released:FILE, which made them")


def _validate_deeplab(cfg: Config) -> None:
    node = cfg.segmenter
    if node.kind is not SegmenterKind.deeplab:
        return
    if node.warm_start:
        raise UserError("segmenter.warm_start=True: DeepLab shares no trunk with stage 1; set it to false")
    if node.batch == 1 and not node.deeplab.frozen_norm:
        raise UserError("segmenter.batch=1: batch norms need 2 photos or more, or segmenter.deeplab.frozen_norm=true")
    if node.deeplab.backbone is DeepLabBackbone.trunk:
        _validate_dilated_trunk(cfg)
    elif node.deeplab.output_stride != 8:
        raise UserError(
            f"segmenter.deeplab.output_stride={node.deeplab.output_stride}: torchvision's {node.deeplab.backbone} "
            "has 8; choose segmenter.deeplab.backbone=trunk"
        )


def _validate_dilated_trunk(cfg: Config) -> None:
    """DeepLab wants the last features of a backbone at a finer stride than they are made for."""
    stride, name, key = cfg.segmenter.deeplab.output_stride, cfg.trunk.backbone, "segmenter.deeplab.backbone=trunk"
    if cfg.trunk.deformable_every:
        raise UserError(f"{key}: deformable convolutions are not dilated; set trunk.deformable_every=0")
    if name == "yolact_darknet53":
        raise UserError(f"{key}: {name} cannot be dilated; choose another trunk, such as trunk=resnet50")
    if name == "resnet38" and stride != 8:
        raise UserError(f"segmenter.deeplab.output_stride={stride}: trunk.backbone={name} has 8, and no other")
