"""The same pictures as SVG, for places that draw no Vega. Headline and caption are text beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

from vn_magic.explore.colors import ONE_COLOR, SEQUENCE_COLORS, Hues, blended
from vn_magic.explore.figures import ASPECT, LABEL_WIDTH, Dots, Grid, Map, point_size
from vn_magic.explore.labels import shortened, xml

_WIDTH = 480
_MARGIN = 24
_LINE = 16
_PANEL = 90
_CHARACTER = 6.2


def map_svg(plane: Map) -> str:
    """Return a map as SVG, one ``circle`` a point."""
    top = 8
    width, height = _WIDTH - 2 * _MARGIN, (_WIDTH - 2 * _MARGIN) / ASPECT
    (left, right), (bottom, ceiling) = plane.domains()
    xs = _MARGIN + (plane.coordinates[:, 0].astype(float) - left) / (right - left) * width
    ys = top + (ceiling - plane.coordinates[:, 1].astype(float)) / (ceiling - bottom) * height
    radius = sqrt(point_size(len(xs)) / 3.1416)
    colors = plane.hues.of_points() if plane.hues else [ONE_COLOR] * len(xs)
    across, up = map(xml, plane.axes)
    below, middle = top + height, top + height / 2
    legend, end = _legend(plane.hues, below + 2 * _LINE + 6) if plane.hues else ([], below + _LINE)
    parts = [
        f'<rect x="{_MARGIN}" y="{top}" width="{width}" height="{height:g}" fill="none" stroke="#cccccc"/>',
        f'<text x="{_WIDTH / 2:g}" y="{below + _LINE:g}" text-anchor="middle">{across}</text>',
        f'<text transform="translate(16 {middle:g}) rotate(-90)" text-anchor="middle">{up}</text>',
        '<g fill-opacity="0.85" stroke="#444444" stroke-width="0.4">',
        *(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{color}"/>'
            for x, y, color in zip(xs.tolist(), ys.tolist(), colors, strict=True)
        ),
        "</g>",
        *legend,
    ]
    return _document(parts, end + 10)


def heatmap_svg(grid: Grid) -> str:
    """Return a heat map as SVG, a row of ``rect`` in a group each."""
    top, left = 8, 170
    cell = min(48.0, max(9.0, (_WIDTH - left - _MARGIN) / len(grid.rows)))
    size = min(10.0, cell - 1)
    below = top + cell * len(grid.rows)

    def share(score: float) -> float:
        return (score - grid.lowest) / (1 - grid.lowest)

    parts = ['<g shape-rendering="crispEdges">']
    for line, scores in enumerate(grid.scores.tolist()):
        parts.append(f'<g transform="translate({left} {top + cell * line:.1f})">')
        parts += [
            f'<rect x="{cell * column:.1f}" width="{cell:.1f}" height="{cell:.1f}" fill="{blended(share(score))}"/>'
            for column, score in enumerate(scores)
        ]
        parts.append("</g>")
    parts.append("</g>")
    for line, (row, text) in enumerate(zip(grid.rows, grid.texts, strict=True)):
        label = xml(f"{row} {shortened(text, LABEL_WIDTH)}")
        middle = top + cell * (line + 0.5) + size / 3
        parts.append(f'<text x="{left - 4}" y="{middle:.1f}" text-anchor="end" font-size="{size:.1f}">{label}</text>')
    parts += _scale("cosine similarity", (grid.lowest, 1.0), below + _LINE + 6)
    return _document(parts, below + 2 * _LINE, max(_WIDTH, left + cell * len(grid.rows) + _MARGIN))


def dots_svg(dots: Dots) -> str:
    """Return figures of settings as SVG, a panel in a group each, with its lowest and highest value below."""
    names = [shortened(name, 60) for name in dots.names]
    left, top, height = 16 + _CHARACTER * max(map(len, names)), 28, _LINE * len(names)
    middles = [_LINE * (line + 0.5) for line in range(len(names))]
    parts = [
        f'<text x="{left - 8}" y="{top + middle + 4:g}" text-anchor="end">{xml(name)}</text>'
        for name, middle in zip(names, middles, strict=True)
    ]
    for (title, values), (low, high), ends in zip(dots.panels, dots.domains(), dots.ends(), strict=True):
        parts.append(f'<g transform="translate({left} {top})">')
        parts.append(f'<rect width="{_PANEL}" height="{height}" fill="none" stroke="#cccccc"/>')
        parts.append(f'<text x="{_PANEL / 2:g}" y="-7" text-anchor="middle">{xml(shortened(title, 20))}</text>')
        for x, anchor, value in zip((0, _PANEL), ("start", "end"), ends, strict=False):
            parts.append(f'<text x="{x}" y="{height + 13}" text-anchor="{anchor}">{value:.3f}</text>')
        parts += [
            f'<circle cx="{(value - low) / (high - low) * _PANEL:.1f}" cy="{middle:g}" r="4" fill="{ONE_COLOR}"/>'
            for value, middle in zip(values, middles, strict=True)
            if value is not None
        ]
        parts.append("</g>")
        left += _PANEL + 14
    return _document(parts, top + height + 22, left)


def _legend(hues: Hues, top: float) -> tuple[list[str], float]:
    """Return a legend and where it ends."""
    if hues.is_numeric:
        return list(_scale(hues.name, hues.domain, top)), top
    parts = [f'<text x="{_MARGIN}" y="{top:g}" font-weight="bold">{xml(shortened(hues.name, 60))}</text>']
    y = top
    for number, (label, color) in enumerate(zip(hues.domain, hues.colors, strict=True)):
        x, y = _MARGIN + number % 3 * 150, top + (1 + number // 3) * _LINE
        swatch = f'width="10" height="10" fill="{color}" stroke="#444444" stroke-width="0.4"'
        parts.append(f'<rect x="{x}" y="{y - 9:g}" {swatch}/><text x="{x + 15}" y="{y:g}">{xml(str(label))}</text>')
    return parts, y


def _scale(name: str, domain: Sequence[float | str], top: float) -> Iterator[str]:
    low, high = domain
    steps = len(SEQUENCE_COLORS) * 4
    yield f'<text x="{_MARGIN}" y="{top:g}">{xml(shortened(name, 40))}: {low:.4g}</text>'
    for step in range(steps):
        x, fill = 250 + step * 4, blended(step / (steps - 1))
        yield f'<rect x="{x}" y="{top - 9:g}" width="4.5" height="10" fill="{fill}"/>'
    yield f'<text x="{250 + steps * 4 + 6}" y="{top:g}">{high:.4g}</text>'


def _document(parts: Sequence[str], height: float, width: float = _WIDTH) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="11" fill="#444444">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>'
    )
