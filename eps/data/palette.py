"""The colours of label images."""


def voc_palette() -> list[int]:
    """PASCAL VOC's colour map as Pillow's `putpalette` wants it: 256 colours, 768 integers in 0..255.

    The bits of an index are dealt out to red, green and blue in turn, from the highest bit of each down
    (PASCAL VOC development kit, `VOCcolormap`); index 0 is black, 255 (ignore) is cream.
    """
    return [_channel(index, channel) for index in range(256) for channel in range(3)]


def _channel(index: int, channel: int) -> int:
    return sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8))
