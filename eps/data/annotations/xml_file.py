"""XML of strangers: small files without a document type, and so without entities that could blow one up."""

from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from eps.data.files import demand_regular
from eps.errors import UserError

MAX_BYTES: Final = 1 << 20


def read_xml_file(path: Path) -> ElementTree.Element:
    """The root of an annotation like VOC's.

    Raises `UserError` for a file that is too large, no xml, or declares entities.
    """
    demand_regular(path)
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB: that is no VOC annotation")
    try:
        return ElementTree.fromstring(path.read_bytes(), parser=ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is no VOC annotation: {error}") from error


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses document types: VOC has none, and entities, which can blow a small file up, are declared in one."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a document type, which could declare entities")
