"""XML documents: checked for what must not reach a driver, and parsed as a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.parsers import expat

from app.messages.common import CONTENT_MISMATCH
from app.messages.vector_formats import XML_DOCTYPE, XML_INVALID, XML_TRUNCATED
from app.pipelines.common.content import is_html, looks_like
from app.pipelines.vector.formats.reader import SourceFile

_BLOCK = 1 << 20
# expat's codes for a document that ends within something.
_ENDS_EARLY = (3, 4, 5, 6)

StartElement = Callable[[str, dict[str, str]], None]


def check_xml(source: SourceFile, head: bytes, is_root: Callable[[str, Sequence[str]], bool]) -> None:
    """Prove that a document is well-formed to its end, of the right vocabulary, and without a DOCTYPE.

    Args:
        source: the file.
        head: its first bytes.
        is_root: whether a root element, as "namespace name", with the namespaces that are declared up to it, is that
            of the format.

    Raises:
        RunRefused: content_mismatch, xml_invalid, file_truncated, xml_doctype.
    """
    file, fmt = source.file, source.format.name
    text = head.removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    if not text.lstrip(b" \t\r\n\x00").startswith(b"<") or is_html(head):
        raise CONTENT_MISMATCH(file=file, format=fmt, found=looks_like(head))
    parser = expat.ParserCreate(namespace_separator=" ")
    root: list[str] = []
    namespaces: list[str] = []

    def start(name: str, _attributes: dict[str, str]) -> None:
        root.append(name)
        parser.StartElementHandler = None  # only the root is of interest; the rest parses at C speed

    def doctype(*_args: object) -> None:
        raise XML_DOCTYPE(file=file)

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    parser.StartNamespaceDeclHandler = lambda _prefix, uri: namespaces.append(uri) if not root else None
    try:
        with source.path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                parser.Parse(block, False)
                if root and not is_root(root[0], namespaces):
                    found = f"XML with the root element {root[0].rpartition(' ')[2]!r}"
                    raise CONTENT_MISMATCH(file=file, format=fmt, found=found)
            parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as err:  # the latter two: an encoding that expat cannot read
        early = isinstance(err, expat.ExpatError) and err.code in _ENDS_EARLY and "no element found" in str(err)
        raise (XML_TRUNCATED if early else XML_INVALID)(file=file, error=err) from None


def parse_xml(
    path: Path,
    start: StartElement,
    end: Callable[[str], None] | None = None,
    text: Callable[[str], None] | None = None,
) -> None:
    """Call the handlers for each element, named "namespace name", and for the text between.

    Raises expat.ExpatError, LookupError or ValueError for a document that `check_xml` would refuse.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    if text is not None:
        parser.CharacterDataHandler = text
        parser.buffer_text = True
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            parser.Parse(block, False)
    parser.Parse(b"", True)
