"""The looks of a page: inline styles, which mail programs keep, and a style sheet for the rest."""

from __future__ import annotations

_FONT = "-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Noto Sans',sans-serif"
PAGE = f"margin:0;padding:24px;background:#ffffff;color:#1c2129;font:14px/1.45 {_FONT}"
TITLE = "margin:0 0 4px;font-size:24px;line-height:1.25;font-weight:650;letter-spacing:-0.01em"
SUBTITLE = "margin:32px 0 2px;font-size:17px;line-height:1.3;font-weight:650"
CAPTION = "margin:0 0 16px;color:#667085;font-size:13px"
WARNING = "margin:0 0 16px;padding:8px 12px;border-left:3px solid #dc6803;background:#fffaeb;color:#93370d"
TABLE = "border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums"
HEADER = (
    "padding:7px 12px;border-bottom:1px solid #98a2b3;background:#f2f4f7;font-weight:600;"
    "vertical-align:bottom"
)
CELL = "padding:6px 12px;border-bottom:1px solid #eaecf0"
TOTAL = "padding:7px 12px;border-top:1px solid #98a2b3;font-weight:600;vertical-align:top"

STYLE_SHEET = """
:root { color-scheme: light dark; }
.table { overflow-x: auto; }
td { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; }
td { min-width: 2em; max-width: 44em; }
td[align=right], td[nowrap] { white-space: nowrap; }
th { white-space: nowrap; }
tbody tr:hover td { background: #f9fafb; }
@media (prefers-color-scheme: dark) {
  body { background: #14171c !important; color: #e4e7ec !important; }
  p { color: #98a2b3 !important; }
  p.warning { background: #33240d !important; color: #fec84b !important; }
  th { background: #1f242c !important; border-color: #475467 !important; }
  td { border-color: #2a3039 !important; }
  tfoot td { border-color: #475467 !important; }
  tbody tr:hover td { background: #1a1e25; }
}
@media print {
  @page { margin: 14mm; }
  body { padding: 0 !important; background: #ffffff !important; color: #000000 !important; }
  .table { overflow: visible; }
  th { min-width: 0 !important; }
  table { font-size: 9px !important; }
  thead { display: table-header-group; }
  tfoot { display: table-row-group; }
  tr { break-inside: avoid; }
  th, td { background: none !important; color: #000000 !important; padding: 3px 6px !important; }
}
"""
