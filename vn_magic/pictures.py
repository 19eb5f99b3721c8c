"""Pictures of vectors: what is drawn, what is said about it, and how it travels in a notebook."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vn_magic.embeddings import Provenance
from vn_magic.exceptions import InputError
from vn_magic.explore.charts import heatmap_spec, map_spec
from vn_magic.explore.colors import Hues, hues_of
from vn_magic.explore.figures import Grid, Map
from vn_magic.explore.labels import entities, inert_html, one_line, shortened
from vn_magic.explore.manifolds import LAYOUTS, SEED
from vn_magic.explore.projection import pca
from vn_magic.explore.similarity import cosine_similarity, row_norms
from vn_magic.explore.static_charts import heatmap_svg, map_svg
from vn_magic.models import OFFLINE_MODEL

MOST_POINTS = 5_000
"""Points that stay fluid under the mouse; of more rows a sample is drawn."""

MOST_ROWS = 60
"""Rows whose labels can still be read beside a heat map."""

METHODS = ("pca", *LAYOUTS)
_NAMES = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Picture:
    """A picture that a notebook shows, with its twins for places that cannot draw it.

    Parameters
    ----------
    spec
        Vega-Lite v5, plain JSON.
    svg
        The same, without anything that moves.
    text
        What the picture shows, in words.
    """

    spec: dict[str, Any]
    svg: str
    text: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002 - IPython's protocol
        """Return all forms; a front end takes the richest that it knows.

        There is no ``text/html``: JupyterLab would prefer it to the chart. Markdown stands between the chart and an SVG
        of its own, which an untrusted notebook does not show.
        """
        source = f"data:image/svg+xml;base64,{b64encode(self.svg.encode()).decode()}"
        image = f'<img alt="{entities(self.text)}" src="{source}" style="max-width:100%">'
        headline, *lines = map(inert_html, self.text.splitlines())
        caption = "<br>".join((f"<b>{headline}</b>", *lines))
        return {
            "application/vnd.vegalite.v5+json": self.spec,
            # One block without an empty line: Markdown hands it on as it is.
            "text/markdown": f"<p>{caption}</p>\n<p>{image}</p>\n",
            "text/plain": self.text,
        }

    def __repr__(self) -> str:
        return self.text


def scatter(
    matrix: NDArray[np.float32],
    texts: Sequence[str | None],
    *,
    provenance: Provenance,
    color: Sequence[object] | None = None,
    color_name: str = "",
    method: str = "pca",
) -> Picture:
    """Draw rows as points of a plane, and say how much of them it keeps.

    Parameters
    ----------
    matrix
        Vectors, float32 ``(rows, dimension)``. Rows that are not finite are no points.
    texts
        What appears on hovering, one a row.
    provenance
        Where the vectors come from.
    color, color_name
        What colours the points, one value a row, and what to call it: numbers become a scale, the rest categories.
    method
        ``pca``, or ``umap`` or ``tsne`` where their libraries are installed. Of more than `MOST_POINTS` rows PCA finds
        its axes with all, while the others lay out the sample that is drawn.

    Raises
    ------
    InputError
        When no row has a vector, ``texts`` or ``color`` have another length, or there is no such method.
    """
    _check_lengths("scatter", matrix, texts, color)
    usable = rows_with("scatter", np.isfinite(row_norms(matrix)))
    rows = _sample(usable)
    coordinates, axes, claim = lay_out("scatter", matrix, rows, method)
    hues = None if color is None else hues_of(color_name, [color[row] for row in rows])
    caption = (claim, *_left_out(len(matrix), usable, rows, f"a random sample, seed {SEED}"), origin_of(provenance))
    title = f"Scatter of {_counted(len(rows))} ({_NAMES[method]})"
    plane = Map(rows.tolist(), coordinates, [texts[row] for row in rows], axes, title, caption, hues)
    said = "\n".join(map(one_line, (title, *caption, *_legend(hues))))
    return Picture(map_spec(plane, said), map_svg(plane), said)


def heatmap(matrix: NDArray[np.float32], texts: Sequence[str | None], *, provenance: Provenance) -> Picture:
    """Draw the cosine similarity of the first rows, up to `MOST_ROWS`, to one another.

    Parameters
    ----------
    matrix
        Vectors, float32 ``(rows, dimension)``. Rows that are not finite, or zero, are left out.
    texts
        A text a row.
    provenance
        Where the vectors come from.

    Raises
    ------
    InputError
        When no row has a vector, or ``texts`` have another length.
    """
    _check_lengths("heatmap", matrix, texts)
    norms = row_norms(matrix)
    usable = rows_with("heatmap", np.isfinite(norms) & (norms > 0))
    rows = usable[:MOST_ROWS]
    scores = cosine_similarity(matrix[rows])
    # To a tenth, so that colours mean the same in pictures of similar texts.
    lowest = min(math.floor(10 * float(scores.min())) / 10, 0.9)
    drawn = [texts[row] for row in rows]
    claim = f"Cosine similarity; colours run from {lowest:g} to 1."
    caption = (claim, *_left_out(len(matrix), usable, rows, "the first ones"), origin_of(provenance))
    title = f"Heatmap of {_counted(len(rows))}"
    grid = Grid(rows.tolist(), scores, drawn, lowest, title, caption)
    said = "\n".join(map(one_line, (title, *caption, *_extremes(grid))))
    return Picture(heatmap_spec(grid, said), heatmap_svg(grid), said)


def lay_out(
    what: str, matrix: NDArray[np.float32], rows: NDArray[np.intp], method: str
) -> tuple[NDArray[np.float32], tuple[str, str], str]:
    """Return rows on a plane, float32 ``(len(rows), 2)``, the titles of its axes, and what it keeps.

    PCA finds its axes with all rows of the matrix, the other methods lay out those that are asked for.

    Raises
    ------
    InputError
        When there is no such method, it is not installed, or there is too little to lay out; names ``what`` was asked.
    """
    if method not in METHODS:
        raise InputError(f"{what}: there is no method {method!r}.\nNext: one of {', '.join(METHODS)}.")
    if method != "pca":
        claim = "Near neighbours are kept; distances between far groups mean little."
        return LAYOUTS[method](matrix[rows]), ("", ""), claim
    if matrix.shape[1] < 2:
        raise InputError(f"{what}: vectors of one value have no plane.\nNext: embed with a larger dimension.")
    projection = pca(matrix, components=2)
    return projection.coordinates[rows], *_shares(projection.explained)


def _check_lengths(
    what: str, matrix: NDArray[np.float32], texts: Sequence[str | None], color: Sequence[object] | None = None
) -> None:
    for name, given in (("texts", texts), ("color", color)):
        if given is not None and len(given) != len(matrix):
            raise InputError(f"{what}: {name} has {len(given):,} values for {_counted(len(matrix))}.")


def rows_with(what: str, usable: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the positions of the rows that can be drawn, or raise InputError when there are none."""
    rows = np.flatnonzero(usable)
    if rows.size == 0:
        had = f"none of the {_counted(len(usable))} has a vector" if len(usable) else "there are no rows"
        raise InputError(f"{what}: {had}, so there is nothing to draw.")
    return rows


def _sample(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return `MOST_POINTS` of the rows at most, in their order, the same each time."""
    if rows.size <= MOST_POINTS:
        return rows
    return np.sort(np.random.default_rng(SEED).choice(rows, MOST_POINTS, replace=False))


def _shares(explained: NDArray[np.float64]) -> tuple[tuple[str, str], str]:
    """Return the titles of the axes, and what the plane keeps."""
    first, second = explained.tolist()
    titles = (f"PC 1 ({_percent(first)} of variance)", f"PC 2 ({_percent(second)} of variance)")
    if first == 0:
        return titles, "The vectors do not differ: all points are in one place."
    return titles, f"These two axes keep {_percent(first + second)} of the variance."


def _left_out(count: int, usable: NDArray[np.intp], rows: NDArray[np.intp], which: str) -> tuple[str, ...]:
    """Return what the picture does not show."""
    sentences = []
    if len(rows) < len(usable):
        sentences.append(f"{len(rows):,} of {_counted(len(usable))}, {which}.")
    if len(usable) < count:
        missing = count - len(usable)
        sentences.append(f"{_counted(missing)} without a vector {'is' if missing == 1 else 'are'} not shown.")
    return tuple(sentences)


def origin_of(provenance: Provenance) -> str:
    """Return what is said of vectors wherever they are shown: the stand-in's are lexical, not semantic."""
    offline = provenance.model == OFFLINE_MODEL
    model = f"{provenance.model}: lexical, not semantic" if offline else provenance.model
    return " · ".join((model, provenance.task_type or "no task", f"{provenance.dimension} values"))


def _legend(hues: Hues | None) -> tuple[str, ...]:
    if hues is None:
        return ()
    name = f"Color: {shortened(hues.name)}" if hues.name else "Color"
    if hues.is_numeric:
        low, high = map(float, hues.domain)
        return (f"{name}, from {low:g} to {high:g}.",)
    return (f"{name}: {', '.join(map(str, hues.domain))}.",)


def _extremes(grid: Grid) -> tuple[str, ...]:
    """Name the pair of rows that are most alike, and the one that is least."""
    above, beside = np.triu_indices(len(grid.rows), k=1)
    if above.size == 0:
        return ("One row has nothing to be compared with.",)
    pairs = grid.scores[above, beside]
    told = []
    for what, place in (("Most", int(pairs.argmax())), ("Least", int(pairs.argmin()))):
        two = (int(above[place]), int(beside[place]))
        named = " and ".join(f"row {grid.rows[row]} ({shortened(grid.texts[row], 60)})" for row in two)
        told.append(f"{what} alike, {pairs[place]:.2f}: {named}.")
    return tuple(told)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.0095 else f"{100 * share:.0f} %"


def _counted(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"
