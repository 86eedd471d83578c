"""The parts of a workbook around its sheets: content types, relationships, the list of sheets, properties.

After ECMA-376 part 1 (transitional), as little of it as Excel and LibreOffice ask for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument"


def content_types(sheets: int) -> str:
    """`[Content_Types].xml`."""
    worksheet = f"{_TYPE}.spreadsheetml.worksheet+xml"
    overrides = {
        "/xl/workbook.xml": f"{_TYPE}.spreadsheetml.sheet.main+xml",
        **{f"/xl/worksheets/sheet{number}.xml": worksheet for number in range(1, sheets + 1)},
        "/xl/styles.xml": f"{_TYPE}.spreadsheetml.styles+xml",
        "/docProps/core.xml": "application/vnd.openxmlformats-package.core-properties+xml",
        "/docProps/app.xml": f"{_TYPE}.extended-properties+xml",
    }
    listed = "".join(
        f'<Override PartName="{part}" ContentType="{kind}"/>' for part, kind in overrides.items()
    )
    relationships = "application/vnd.openxmlformats-package.relationships+xml"
    return (
        f'{DECLARATION}<Types xmlns="{_PACKAGE}/content-types">'
        f'<Default Extension="rels" ContentType="{relationships}"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{listed}</Types>'
    )


def package_relationships() -> str:
    """`_rels/.rels`."""
    return _relationships(
        [
            (f"{_OFFICE}/officeDocument", "xl/workbook.xml"),
            (f"{_PACKAGE}/relationships/metadata/core-properties", "docProps/core.xml"),
            (f"{_OFFICE}/extended-properties", "docProps/app.xml"),
        ]
    )


def workbook_relationships(sheets: int) -> str:
    """`xl/_rels/workbook.xml.rels`: the sheets in their order, then the styles."""
    listed = [(f"{_OFFICE}/worksheet", f"worksheets/sheet{number}.xml") for number in range(1, sheets + 1)]
    return _relationships([*listed, (f"{_OFFICE}/styles", "styles.xml")])


def workbook(names: list[str], defined: list[tuple[str, int, str]]) -> str:
    """`xl/workbook.xml`.

    Args:
        names: Of the sheets.
        defined: Defined names: name, index of the sheet, reference within it.
    """
    sheets = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{number}" r:id="rId{number}"/>'
        for number, name in enumerate(names, start=1)
    )
    definitions = "".join(
        f'<definedName name="{name}" localSheetId="{index}"{_hidden(name)}>'
        f"{escape(_quoted(names[index]))}!{reference}</definedName>"
        for name, index, reference in defined
    )
    return (
        f'{DECLARATION}<workbook xmlns="{MAIN}" xmlns:r="{_OFFICE}">'
        '<workbookPr defaultThemeVersion="124226"/><bookViews><workbookView activeTab="0"/></bookViews>'
        f"<sheets>{sheets}</sheets>"
        + (f"<definedNames>{definitions}</definedNames>" if definitions else "")
        + '<calcPr calcId="124519"/></workbook>'
    )


def core_properties(*, title: str, subject: str, comments: str, created: datetime) -> str:
    """`docProps/core.xml`; `created` is not the time of writing: the same report is the same bytes."""
    moment = f"{created.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0")
    return (
        f'{DECLARATION}<cp:coreProperties xmlns:cp="{_PACKAGE}/metadata/core-properties"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<dc:title>{plain_xml(title)}</dc:title><dc:subject>{plain_xml(subject)}</dc:subject>"
        f"<dc:creator>ReportHub</dc:creator><cp:lastModifiedBy>ReportHub</cp:lastModifiedBy>"
        + (f"<dc:description>{plain_xml(comments)}</dc:description>" if comments else "")
        + f'<dcterms:created xsi:type="dcterms:W3CDTF">{moment}</dcterms:created>'
        f'<dcterms:modified xsi:type="dcterms:W3CDTF">{moment}</dcterms:modified></cp:coreProperties>'
    )


def app_properties() -> str:
    """`docProps/app.xml`."""
    return (
        f'{DECLARATION}<Properties xmlns="http://schemas.openxmlformats.org/officeDocument/2006/'
        'extended-properties"><Application>ReportHub</Application></Properties>'
    )


def plain_xml(text: str) -> str:
    """Text for a property: what XML cannot hold is left out."""
    allowed = (one for one in text if one >= " " and one not in "\ufffe\uffff")
    return escape("".join(allowed))


def _relationships(targets: list[tuple[str, str]]) -> str:
    listed = "".join(
        f'<Relationship Id="rId{number}" Type="{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, start=1)
    )
    return f'{DECLARATION}<Relationships xmlns="{_PACKAGE}/relationships">{listed}</Relationships>'


def _hidden(name: str) -> str:
    return ' hidden="1"' if name == "_xlnm._FilterDatabase" else ""


def _quoted(name: str) -> str:
    doubled = name.replace("'", "''")
    return f"'{doubled}'"
