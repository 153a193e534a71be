"""The bar chart of docs/speed.svg, drawn by hand: it needs no library and follows the reader's light or dark theme."""

from typing import Any
from xml.sax.saxutils import escape

WIDTH, LABELS, BAR, GAP = 720, 270, 22, 10


def bars(table: list[dict[str, Any]]) -> str:
    """Return an SVG with one bar for each server, its length the requests a second."""
    shown = sorted(table, key=lambda one: -one["rate"])
    longest = shown[0]["rate"]
    lines = []
    for number, one in enumerate(shown):
        y = 40 + number * (BAR + GAP)
        width = max(2, round((WIDTH - LABELS - 70) * one["rate"] / longest))
        kind = "ours" if one["key"] == "hamlet" else "theirs"
        name = escape(one["name"].replace("`", ""))
        lines += [
            f'<text x="{LABELS - 8}" y="{y + 16}" text-anchor="end">{name}</text>',
            f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{width}" height="{BAR}" rx="3"/>',
            f'<text x="{LABELS + width + 6}" y="{y + 16}">{one["rate"]:,.0f}</text>',
        ]
    height = 40 + len(shown) * (BAR + GAP)
    described = "; ".join(f"{one['name'].replace('`', '')}: {one['rate']:,.0f}" for one in shown)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">
<title>Requests a second with one process</title>
<desc>{escape(described)}</desc>
<style>
text {{ font: 13px system-ui, sans-serif; fill: #24292f }}
.ours {{ fill: #2f6fdf }}
.theirs {{ fill: #8c959f }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #d0d7de }} .ours {{ fill: #6ea8fe }} .theirs {{ fill: #6e7781 }} }}
</style>
<text x="{LABELS}" y="24" font-weight="bold">requests a second, one process, 32 connections</text>
{chr(10).join(lines)}
</svg>
"""
