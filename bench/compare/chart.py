"""The chart of a comparison, as SVG: a panel for each figure, a bar for each contestant."""

from statistics import median
from typing import Final
from xml.sax.saxutils import escape

from bench.compare.contestants import CONTESTANTS, OURS
from bench.compare.phases import PHASES, Figure
from bench.compare.results import Results

COLUMNS: Final = 2
WIDTH, HEAD, BAR, GAP = 440, 30, 18, 6
NAME, VALUE = 110, 70
PANEL: Final = HEAD + len(CONTESTANTS) * (BAR + GAP) + 24
STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 }
.name { text-anchor: end }
rect { fill: #afb8c1 }
.ours { fill: #1f6feb }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } rect { fill: #57606a } .ours { fill: #58a6ff } }
"""


def svg(results: Results) -> str:
    """The figures that have a place in it, as far as they were measured."""
    charted = [
        (phase.name, figure)
        for phase in PHASES
        for figure in phase.figures
        if figure.chart and results.of(phase.name, figure.key, OURS.name)
    ]
    rows = -(-len(charted) // COLUMNS)
    width, height = WIDTH * COLUMNS, PANEL * rows
    panels = (
        f'<g transform="translate({number % COLUMNS * WIDTH},{number // COLUMNS * PANEL})">{_panel(results, *each)}</g>'
        for number, each in enumerate(charted)
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            f"<style>{STYLE}</style>",
            *panels,
            "</svg>\n",
        ]
    )


def _panel(results: Results, phase: str, figure: Figure) -> str:
    found = {who: results.of(phase, figure.key, who) for who in CONTESTANTS}
    middles = {who: median(values) for who, values in found.items() if values}
    scale = (WIDTH - NAME - VALUE) / max(middles.values())
    bars = (
        _bar(HEAD + place * (BAR + GAP), who, value, value * scale, figure.digits)
        for place, (who, value) in enumerate(middles.items())
    )
    return f'<text class="head" x="{NAME}" y="20">{escape(figure.chart)}</text>{"".join(bars)}'


def _bar(top: float, who: str, value: float, length: float, digits: int) -> str:
    is_ours = ' class="ours"' if who == OURS.name else ""
    base = top + BAR - 5
    return (
        f'<text class="name" x="{NAME - 8}" y="{base}">{escape(CONTESTANTS[who].title)}</text>'
        f'<rect{is_ours} x="{NAME}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>'
        f'<text x="{NAME + length + 6:.1f}" y="{base}">{value:,.{digits}f}</text>'
    )
