"""``df.vec``: what can be done with a column of vectors. Thin, everything is done elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.current import current_session
from vn_magic.embeddings import Provenance
from vn_magic.exceptions import InputError, ProvenanceError
from vn_magic.frames import is_vector_column, matrix_of, noted_columns, provenance_of, state_provenance
from vn_magic.queries import embedded_query
from vn_magic.rows import DEFAULT_COLUMN

if TYPE_CHECKING:
    from vn_magic.handover.vectors import Vectors
    from vn_magic.pictures import Picture

# Bytes; beyond that a kernel is more likely to die than to answer.
_LARGEST_SIMILARITY = 4e9
SIMILARITY_COLUMN = "similarity"


class VectorAccessor:
    """Vectors of a Series, or of the one column of a DataFrame that holds vectors.

    Cells are read-only float32 views into one matrix. pandas keeps them through filtering, sorting, copying,
    pickling and Parquet, but it cannot do everything with such a column: ``to_csv`` cuts a cell of more than a
    thousand numbers without a warning (use `save`), ``drop_duplicates()`` and ``groupby`` on it raise (name other
    columns), ``describe(include="all")`` takes minutes, and ``concat`` forgets where vectors come from when that
    differs (then everything here refuses, see `provenance`).
    """

    def __init__(self, data: pd.DataFrame | pd.Series[Any]) -> None:
        self._data = data

    @property
    def provenance(self) -> Provenance:
        """Where the vectors come from. Assign another frame's to state it when pandas has lost it.

        Raises
        ------
        ProvenanceError
            When it is lost.
        """
        return self._provenance_of(self._column)

    @provenance.setter
    def provenance(self, provenance: Provenance) -> None:
        column = self._column
        _check_dimension(matrix_of(column), provenance)
        state_provenance(self._data, str(column.name), provenance)

    @property
    def matrix(self) -> NDArray[np.float32]:
        """The vectors, float32 ``(rows, dimension)``; a view where the rows are still in order, else a copy.

        Raises
        ------
        ProvenanceError
            When it is lost where the vectors come from, or it contradicts their length.
        InputError
            When a cell is not a vector.
        """
        column = self._column
        return _matrix(column, self._provenance_of(column))

    def similarity(self) -> pd.DataFrame:
        """Return the cosine similarity of every row to every row, float32, labelled by the index on both sides."""
        from vn_magic.explore.similarity import cosine_similarity  # noqa: PLC0415 - paid for by those who use it

        index = self._data.index
        size = 4 * len(index) ** 2
        if size > _LARGEST_SIMILARITY:
            raise InputError(
                f"similarity: {len(index):,} rows to one another are {size / 1e9:.0f} GB.\n"
                "Next: take fewer rows, e.g. df.sample(10_000).vec.similarity(), or ask for .nearest()."
            )
        return pd.DataFrame(cosine_similarity(self.matrix), index=index, columns=index, copy=False)

    def nearest(self, query: str | NDArray[Any] | list[float], k: int = 5) -> pd.DataFrame:
        """Return the ``k`` rows nearest to a text or a vector, best first, with their cosine ``similarity``.

        Parameters
        ----------
        query
            A text is embedded with the rows' own model and size, as ``RETRIEVAL_QUERY`` where the rows are
            ``RETRIEVAL_DOCUMENT``. A vector is taken to be of the rows' kind.
        k
            How many rows; all of them when there are fewer. Failed rows are never among them.

        Returns
        -------
        DataFrame
            The other columns of the rows and ``similarity``; the index says which rows they are.

        Raises
        ------
        ProvenanceError
            When the session would embed the query at another place than the rows.
        InputError
            When the query is no text and no vector of the rows' dimension.
        """
        from vn_magic.explore.neighbors import nearest  # noqa: PLC0415 - as above

        column = self._column
        provenance = self._provenance_of(column)
        matrix = _matrix(column, provenance)
        vector = embedded_query(query, provenance, current_session()) if isinstance(query, str) else _as_vector(query)
        try:
            rows, scores = nearest(matrix, vector, k, unit_length=provenance.unit_length)
        except ValueError as error:
            raise InputError(f"nearest: {error}") from None
        label = self._name if isinstance(self._data, pd.Series) else column.name
        found = self._frame.iloc[rows].drop(columns=[label])
        found[SIMILARITY_COLUMN] = scores
        return found

    def project(self) -> pd.DataFrame:
        """Return the rows on the plane that keeps most of their variance (PCA): columns ``x`` and ``y``, float32.

        ``attrs["explained_variance"]`` holds the share that each axis keeps; failed rows are NaN.
        """
        from vn_magic.explore.projection import pca  # noqa: PLC0415 - as above

        projection = pca(self.matrix, components=2)
        plane = pd.DataFrame(projection.coordinates, index=self._data.index, columns=["x", "y"], copy=False)
        plane.attrs["explained_variance"] = [float(share) for share in projection.explained]
        return plane

    def scatter(self, color: object = None, text: str = DEFAULT_COLUMN, method: str = "pca") -> Picture:
        """Draw the rows as points, with their texts on hovering, and say how much of them the plane keeps.

        Parameters
        ----------
        color
            A column of the frame, or a value for each row: numbers become a scale, the rest categories.
        text
            The column of the texts; where there is no ``text``, the index stands for it.
        method
            ``pca``, or ``umap`` or ``tsne`` where umap-learn or scikit-learn is installed.

        Returns
        -------
        Picture
            A notebook shows it; ``str()`` of it says what it shows.

        Raises
        ------
        InputError
            When there is no such column or method, or no row has a vector.
        """
        from vn_magic.pictures import scatter  # noqa: PLC0415 - as above

        given = self._colors(color)
        values, name = (
            (None, "") if given is None else (_plain_values(given), "" if given.name is None else str(given.name))
        )
        return scatter(
            self.matrix,
            self._texts(text),
            provenance=self.provenance,
            color=values,
            color_name=name,
            method=method,
        )

    def heatmap(self, text: str = DEFAULT_COLUMN) -> Picture:
        """Draw the cosine similarity of the rows, the first sixty of them, to one another; see `scatter`."""
        from vn_magic.pictures import heatmap  # noqa: PLC0415 - as above

        return heatmap(self.matrix, self._texts(text), provenance=self.provenance)

    def save(self, path: str | Path) -> Path:
        """Write the frame with vectors and provenance to ``.parquet``, ``.npz`` or ``.csv``; see `vn_magic.load`.

        Raises
        ------
        InputError
            When the ending is another, or ``.parquet`` is asked for without pyarrow.
        ProvenanceError
            When it is lost where the vectors come from.
        """
        from vn_magic.files import save  # noqa: PLC0415 - as above

        return save(self._frame, self._name, Path(path))

    def to_arrow(self, *, preserve_index: bool | None = None) -> Any:  # noqa: ANN401 - pyarrow's own Table
        """Return a ``pyarrow.Table`` whose vectors are a ``fixed_size_list<float>`` column: the matrix, not a copy.

        Its metadata say where the vectors come from, to people (``vn_magic``) and to pandas: ``table.to_pandas().vec``
        works from pyarrow 22 on, Parquet files always do. A failed row is null, and None in pandas again: ``dropna``
        it first. ``preserve_index`` is pyarrow's own.

        Raises
        ------
        MissingExtraError, InputError
            When pyarrow is missing; when it refuses a column.
        """
        from vn_magic.handover.arrow import to_arrow  # noqa: PLC0415 - as above

        return to_arrow(self._vectors, preserve_index=preserve_index)

    def to_lance(self, database: object, name: str, **options: Any) -> Any:  # noqa: ANN401 - LanceDB's own Table
        """Return a new table of LanceDB with all columns, the index among them; metadata as in `to_arrow`.

        ``table.search(vector).distance_type("cosine").limit(5)`` finds what ``df.vec.nearest(vector, 5)`` does. Failed
        rows are kept without a vector, and never found.

        Parameters
        ----------
        database, name
            A folder or an address, as for ``lancedb.connect``, or a connection; and what the table is called. Unless
            it was imported before, LanceDB then keeps its warnings from stderr; ``$LANCEDB_LOG`` changes that.
        **options
            Go to LanceDB's ``create_table``: ``mode="overwrite"``.

        Raises
        ------
        MissingExtraError, InputError
            When LanceDB is missing; when it refuses the table.
        """
        from vn_magic.handover.lance import to_lance  # noqa: PLC0415 - as above

        return to_lance(self._vectors, database, name, options)

    def to_memmap(self, path: str | Path) -> np.memmap[Any, np.dtype[np.float32]]:
        """Write the matrix to a ``.npy`` file and return it mapped into memory, float32 ``(rows, dimension)``.

        ``numpy.load(path, mmap_mode="r")`` opens it again: the frame's order, failed rows NaN. Where the vectors come
        from stands beside it, in ``….npy.json``. The file is complete or absent, and no second matrix is held.

        Raises
        ------
        InputError
            When the ending is not ``.npy``, or it cannot be written there.
        """
        from vn_magic.handover.memmap import to_memmap  # noqa: PLC0415 - as above

        column, kind = self._column, self.provenance
        return to_memmap(Path(path), lambda rows: _matrix(column.iloc[rows], kind), len(column), (self._name, kind))

    def to_scatter(self, text: str = DEFAULT_COLUMN, method: str = "pca", **options: Any) -> Any:  # noqa: ANN401 - as above
        """Return a ``jscatter.Scatter`` (jupyter-scatter) of the rows on a plane, with their texts on hovering.

        ``text`` and ``method`` are as in `scatter`. Options go to ``jscatter.Scatter``, and before ours:
        ``color_by="label"``, ``height=480``. Failed rows are left out, the first axis says where the vectors come from,
        and ``selection()`` gives labels of the index; ``selection(labels)`` needs one without duplicates.
        A saved notebook shows nothing of it.

        Raises
        ------
        MissingExtraError, InputError
            When jupyter-scatter is missing; as in `scatter`; it refuses an option, or there is a column ``x`` or ``y``.
        """
        from vn_magic.handover.scatter import to_scatter  # noqa: PLC0415 - as above

        return to_scatter(self._vectors, (text, self._texts(text)), method, options)

    def to_atlas(self, text: str = DEFAULT_COLUMN, method: str = "pca", k: int = 15, **options: Any) -> Any:  # noqa: ANN401 - as above
        """Return an ``EmbeddingAtlasWidget`` (embedding-atlas): the rows on a plane, with search, table and charts.

        ``text`` and ``method`` are as in `scatter`. Options go to ``EmbeddingAtlasWidget``, and before ours. Failed
        rows are left out. Columns of ours are ``x``, ``y``, ``neighbors``, and ``vectors``: where these come from. It
        needs no network, but PyTorch on the disk (some GB), and a browser with WebGPU. A saved notebook shows nothing.

        ``k`` is how many nearest rows it can show of each. They are found here, by cosine: in some twelve seconds for
        20,000 rows of 768 values, in four times that for twice as many; ``neighbors=None`` does without.

        Raises
        ------
        MissingExtraError, InputError
            When embedding-atlas is missing; as in `scatter`; it refuses something, or there is a column of ours.
        """
        from vn_magic.handover.atlas import to_atlas  # noqa: PLC0415 - as above

        return to_atlas(self._vectors, (text, self._texts(text)), method, k, options)

    @property
    def _vectors(self) -> Vectors:
        from vn_magic.handover.vectors import Vectors  # noqa: PLC0415 - as above

        label = self._name if isinstance(self._data, pd.Series) else self._column.name
        return Vectors(self._frame, label, self.matrix, self.provenance)

    def _texts(self, name: str) -> list[str | None]:
        named = self._named(name)
        if named is None and name != DEFAULT_COLUMN:
            raise InputError(f"There is no column {name!r} to take the texts from; {self._column_list}.")
        values = _plain_values(self._data.index.to_series() if named is None else named)
        return [None if value is None else str(value) for value in values]

    def _colors(self, color: object) -> pd.Series[Any] | None:
        if color is None:
            return None
        if isinstance(color, pd.Series):
            if not color.index.equals(self._data.index):
                raise InputError(
                    "color: the Series has another index than the rows.\n"
                    "Next: color=series.reindex(df.index), or series.to_numpy() where the order is the same."
                )
            return color
        if isinstance(color, str | int):
            named = self._named(color)
            if named is None:
                raise InputError(f"color: there is no column {color!r}; {self._column_list}.")
            return named
        values = list(color) if isinstance(color, Collection) else []
        if len(values) != len(self._data):
            raise InputError(f"color: expected a column, or one value for each of {len(self._data):,} rows.")
        return pd.Series(values, index=self._data.index, dtype=getattr(color, "dtype", None))

    def _named(self, name: Hashable) -> pd.Series[Any] | None:
        """Return a column by its name, or by what its name looks like on a magic's line."""
        if isinstance(self._data, pd.Series):
            return None
        found = [at for at, column in enumerate(self._data.columns) if column == name or str(column) == name]
        if len(found) > 1:
            raise InputError(f"There are several columns called {name!r}.\nNext: rename them apart.")
        return self._data.iloc[:, found[0]] if found else None

    @property
    def _column_list(self) -> str:
        if isinstance(self._data, pd.Series):
            return "a Series of vectors has none"
        return f"the frame has {', '.join(map(repr, map(str, self._data.columns)))}"

    def _provenance_of(self, column: pd.Series[Any]) -> Provenance:
        return provenance_of(self._data, str(column.name))

    @property
    def _name(self) -> str:
        return str(self._column.name)  # attrs are JSON, whose names are texts

    @property
    def _frame(self) -> pd.DataFrame:
        return self._data.to_frame(self._name) if isinstance(self._data, pd.Series) else self._data

    @property
    def _column(self) -> pd.Series[Any]:
        if isinstance(self._data, pd.Series):
            return self._data
        found = [name for name in self._data.columns if _holds_vectors(self._data, name)]
        if len(self._data) == 0:  # no cell tells, but the note does
            found = [name for name in self._data.columns if name in noted_columns(self._data)]
        if len(found) == 1:
            return self._data[found[0]]
        names = ", ".join(map(repr, found))
        what = f"has several columns of vectors ({names})" if found else "has no column of vectors"
        raise InputError(f"The frame {what}, and .vec needs exactly one.\nNext: df['COLUMN'].vec for one of them.")


def register_accessors() -> None:
    """Make ``.vec`` known to pandas, for frames and for Series; once, or ``%reload_ext`` would warn on stderr."""
    if getattr(pd.DataFrame, "vec", None) is VectorAccessor:
        return
    pd.api.extensions.register_dataframe_accessor("vec")(VectorAccessor)
    pd.api.extensions.register_series_accessor("vec")(VectorAccessor)


def _holds_vectors(frame: pd.DataFrame, name: Hashable) -> bool:
    column = frame[name]
    return isinstance(column, pd.Series) and is_vector_column(column)


def _plain_values(column: pd.Series[Any]) -> list[Any]:
    """Return a column's values, None where one is missing; as texts where they are categories."""
    kept = column.notna().tolist()
    values = column.astype(object).tolist()
    as_text = isinstance(column.dtype, pd.CategoricalDtype)
    return [(str(value) if as_text else value) if there else None for value, there in zip(values, kept, strict=True)]


def _as_vector(query: object) -> NDArray[np.float32]:
    try:
        vector = np.asarray(query, dtype=np.float32)
    except (TypeError, ValueError):
        vector = np.empty((0, 0), dtype=np.float32)
    if vector.ndim != 1:
        raise InputError(f"nearest: the query is a {type(query).__name__}, expected a text or one vector.")
    return vector


def _matrix(column: pd.Series[Any], provenance: Provenance) -> NDArray[np.float32]:
    matrix = matrix_of(column) if len(column) else np.empty((0, provenance.dimension), dtype=np.float32)
    _check_dimension(matrix, provenance)
    return matrix


def _check_dimension(matrix: NDArray[np.float32], provenance: Provenance) -> None:
    if len(matrix) and matrix.shape[1] != provenance.dimension:
        raise ProvenanceError(
            f"The vectors have {matrix.shape[1]} values, but the note of their origin says {provenance.dimension}: "
            "the column was replaced since.\nNext: embed again, or state the right provenance."
        )
