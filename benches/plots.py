"""Plots as SVG texts that read well on light and dark pages, and without colour: every bar has its name and its figure.

Pure: figures in, text out. Axes are logarithmic, since the servers lie up to a hundredfold apart. Never: a bar for a
figure that is void or unknown; its place says so in words.
"""

import dataclasses
import html
import math

NAME_WIDTH, BAR_WIDTH, TEXT_WIDTH = 112, 190, 108
PANEL_WIDTH = NAME_WIDTH + BAR_WIDTH + TEXT_WIDTH
ROW_HEIGHT, TITLE_HEIGHT, AXIS_HEIGHT, MARGIN = 22, 30, 30, 16
HEAD_HEIGHT, HEAD_LETTER_WIDTH = 48, 9
BAR_HEIGHT, DOT_RADIUS = 12, 5

STYLE = """
    text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
    .head { font-size: 15px; font-weight: 600; }
    .title, .ours-text { font-weight: 600; }
    .axis, .none { fill: #59636e; }
    .page { fill: #ffffff; }
    .grid { stroke: #d1d9e0; }
    .bar { fill: #8c959f; }
    .bar-span { stroke: #8c959f; stroke-width: 3; }
    .ours { fill: #0969da; }
    .ours-span { stroke: #0969da; stroke-width: 3; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .axis, .none { fill: #9198a1; }
      .page { fill: #0d1117; }
      .grid { stroke: #3d444d; }
      .bar { fill: #656c76; }
      .bar-span { stroke: #656c76; }
      .ours { fill: #4493f8; }
      .ours-span { stroke: #4493f8; }
    }
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """A server in a panel: a bar from the plot's origin to `end`; in a plot without origin a dot at `end`, and one at
    `start` with a line between them if there is a start. Without `end` only `text`."""

    name: str
    text: str
    end: float = None
    start: float = None
    ours: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    rows: tuple


class Axis:
    """Logarithmic, from just under the least to just over the most of what is shown."""

    def __init__(self, panels, origin=None):
        values = [value for panel in panels for row in panel.rows for value in (row.start, row.end) if value]
        values += [origin] if origin else []
        self.origin = origin
        self.low, self.high = min(values, default=1) / 1.15, max(values, default=10) * 1.15

    def at(self, value):
        """Pixels from the axis' left end."""
        return BAR_WIDTH * math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self):
        """1, 10, 100 and so on; also 2 and 5 of each if they are few."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        fine = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        fine = [tick for tick in fine if self.low <= tick <= self.high]
        coarse = [tick for tick in fine if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9)]
        return fine if len(fine) <= 5 else coarse


def plot(head, panels, columns, axis_text, origin=None):
    """The whole picture: panels in rows of `columns`, all on one scale, so that they can be compared."""
    axis = Axis(panels, origin)
    columns = min(columns, len(panels))
    height_of_panel = TITLE_HEIGHT + ROW_HEIGHT * max(len(panel.rows) for panel in panels) + AXIS_HEIGHT
    width = max(MARGIN + columns * (PANEL_WIDTH + MARGIN), 2 * MARGIN + HEAD_LETTER_WIDTH * len(head))
    height = HEAD_HEIGHT + math.ceil(len(panels) / columns) * height_of_panel + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{html.escape(head)}">',
        f"  <style>{STYLE}  </style>",
        f'  <rect class="page" width="{width}" height="{height}" rx="6"/>',
        text(MARGIN, 30, head, "head"),
    ]
    for number, panel in enumerate(panels):
        x = MARGIN + number % columns * (PANEL_WIDTH + MARGIN)
        y = HEAD_HEIGHT + number // columns * height_of_panel
        parts += drawn(panel, axis, axis_text, x, y)
    return "\n".join([*parts, "</svg>", ""])


def drawn(panel, axis, axis_text, x, y):
    """The elements of one panel whose upper left corner is at (x, y)."""
    left, top = x + NAME_WIDTH, y + TITLE_HEIGHT
    bottom = top + ROW_HEIGHT * len(panel.rows)
    parts = [text(x, y + 18, panel.title, "title")]
    for tick in axis.ticks():
        at = left + axis.at(tick)
        parts.append(f'  <line class="grid" x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{bottom}"/>')
        parts.append(text(at, bottom + 16, f"{tick:,.10g}", "axis", "middle"))
    parts.append(text(left - 8, bottom + 16, axis_text, "axis", "end"))
    for number, row in enumerate(panel.rows):
        parts += drawn_row(row, axis, left, top + ROW_HEIGHT * number)
    return parts


def drawn_row(row, axis, left, top):
    middle = top + ROW_HEIGHT / 2
    bold = "ours-text" if row.ours else ""
    parts = [text(left - 8, middle + 4, row.name, bold, "end")]
    if row.end is None:
        return [*parts, text(left + 6, middle + 4, row.text, "none")]
    kind = "ours" if row.ours else "bar"
    to = left + axis.at(row.end)
    begin = axis.origin or row.start
    start = left + axis.at(begin) if begin else to
    if axis.origin:
        from_, width = min(start, to), max(abs(to - start), 1)
        shape = f'x="{from_:.1f}" y="{middle - BAR_HEIGHT / 2:g}" width="{width:.1f}" height="{BAR_HEIGHT}"'
        parts.append(f'  <rect class="{kind}" {shape}/>')
    else:
        parts.append(f'  <line class="{kind}-span" x1="{start:.1f}" y1="{middle:g}" x2="{to:.1f}" y2="{middle:g}"/>')
        dots = dict.fromkeys((start, to))
        parts += [f'  <circle class="{kind}" cx="{at:.1f}" cy="{middle:g}" r="{DOT_RADIUS}"/>' for at in dots]
    return [*parts, text(max(start, to) + 10, middle + 4, row.text, bold)]


def text(x, y, words, kind="", anchor="start"):
    named = f' class="{kind}"' if kind else ""
    return f'  <text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{html.escape(words)}</text>'
