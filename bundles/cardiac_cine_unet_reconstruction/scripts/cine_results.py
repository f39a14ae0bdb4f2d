"""Ignite handler that writes the series of an evaluator beside its input and the truth."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
from common.data.series_reader import CineReader, open_cine
from common.errors import DataError
from common.handlers.cases import cases_of, measured_case
from common.io import IntensityRange, open_sink, split_suffix
from common.io.disk import remove
from common.io.formats.cine_hdf5 import IMAGES, ResultSeries, series_attributes, write_results
from common.io.formats.dicom_new import NewMrSeries
from common.io.formats.dicom_order import DicomSeries
from common.io.sink import Sink
from common.metrics.case import RECONSTRUCTION
from ignite.engine import Events
from monai.engines.workflow import Workflow

logger = logging.getLogger("recon")

FORMATS = ("h5", "nifti", "dicom")
_UNFINISHED = ".unfinished-"
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class _KeptSeries:
    """The images of one series in a file of their own, until all are there.

    Attributes:
        file: NumPy's ``.npy`` of `IMAGES`, the last one perhaps missing: float32 ``[2 or 3, height, width, frames]``.
        path: the file that the series comes from.
        truth_path: the file of its truth, if that is another one.
        index: number of the series in its file.
        intensity_range: the values in that file that are 0 and 1 here.
        size: height, width, frames.
    """

    file: Path
    path: str
    truth_path: str | None
    index: int
    intensity_range: tuple[float, float]
    size: tuple[int, int, int]

    def load(self) -> dict[str, np.ndarray]:
        """The images by name."""
        return dict(zip(IMAGES, np.load(self.file), strict=False))

    def as_result(self, attributes: Mapping[str, Any]) -> ResultSeries:
        """Entry of a result file; ``attributes`` are those of the source."""
        return ResultSeries(self.load, f"{self.path}:{self.index}", self.intensity_range, self.size, attributes)


class SaveCineResults:
    """Writes ``result.h5``, and NIfTI or DICOM files of the results, when the last series has come.

    ======  =========================================================================================
    h5      ``result.h5``, see :func:`~common.io.formats.cine_hdf5.write_results`: ``input``, ``result`` and, where
            there is one, ``truth``, float32 ``[N, H, W, T]``, magnitudes in [0, 1] as the network saw them;
            ``sources``; ``intensity_range``. Series of another size than the first one go to
            ``result_<H>x<W>x<T>.h5``
    nifti   ``<stem>_recon.nii.gz`` for each source file, or a NIfTI input's own suffix: float32 ``[W, H, slices, T]``,
            results in the units of that file, with its orientation, voxel sizes and frame times
    dicom   folder ``<stem>_recon`` for each source file, a file per slice and frame, with TriggerTime: of DICOM input
            a series derived from it, else a new MR series, see :mod:`~common.io.formats.dicom_new`
    ======  =========================================================================================

    Files appear whole or not at all. Until the end of the run the series lie in a hidden folder in ``output_dir``, of
    which one is in memory at a time; folders of killed runs are removed at the start. Several processes must share
    ``output_dir``; the first of them writes the files, in the order of one process alone.

    For an evaluator that decollates: per item ``engine.state.output`` has "image", the network's input, aliased
    magnitudes ``(1, H, W, T)`` or the measurement, see :func:`~common.operators.series.pack_series`, of which the
    zero-filled magnitudes are kept; "pred", ``(1 or 2, H, W, T)``; "label", likewise, None or absent.
    ``engine.state.batch`` has "path", "slice" and, where it is not [0, 1], "intensity_range", as
    :class:`~common.data.CineDataset` gives them.

    Args:
        output_dir: folder of the files; made if need be.
        formats: files to write, one or more of "h5", "nifti" and "dicom".
        intensity_range: range that the data was read with, see :class:`~common.data.series_reader.CineReader`.
        source_options: options of :func:`~common.io.open_source` that the data was read with.

    Raises:
        ValueError: for unknown formats.
        DataError: in a run, for results that are not finite; with "nifti" and "dicom" for files of which a series is
            missing or whose size is not that of the results, and for two of one name.
    """

    def __init__(
        self,
        output_dir: str | Path,
        formats: Sequence[str] = ("h5",),
        intensity_range: IntensityRange = "auto",
        source_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.formats = [formats] if isinstance(formats, str) else list(formats)
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise ValueError(f"formats: expected one or more of {', '.join(FORMATS)}, got {formats!r}; correct them")
        self.options: dict[str, Any] = {"intensity_range": intensity_range, "source_options": source_options}
        self._folder: TemporaryDirectory[str] | None = None
        self._kept: list[_KeptSeries] = []
        self._readers: dict[str, CineReader] = {}
        self._sinks: dict[tuple[str, str], Sink] = {}  # by source and format

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.COMPLETED, self._finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._abandon)

    def _start(self, engine: Workflow) -> None:
        self._discard()
        self._readers, self._sinks = {}, {}
        self.output_dir.mkdir(parents=True, exist_ok=True)
        if idist.get_rank() == 0:
            for killed in self.output_dir.glob(f"{_UNFINISHED}*"):
                remove(killed)
        idist.barrier()
        self._folder = TemporaryDirectory(prefix=_UNFINISHED, dir=self.output_dir)

    def _add_batch(self, engine: Workflow) -> None:
        assert self._folder is not None
        cases = cases_of(engine, measured_case)
        for case, where in zip(cases, engine.state.batch, strict=True):
            path, index = str(where["path"]), int(where["slice"])
            truth_path = where.get("truth_path")
            self._reader(path, truth_path)  # what cannot be opened is found now, and not at the end
            images = [case.methods["aliased"], case.methods[RECONSTRUCTION], case.target]
            kept = [image.float().cpu().numpy() for image in images if image is not None]
            result = kept[1]
            if not np.isfinite(result).all():
                raise DataError(
                    f"{path}: not written, the result of series {index} has NaN or infinite values; check the network"
                )
            file = Path(self._folder.name) / f"{len(self._kept)}.npy"
            np.save(file, np.stack(kept))
            low, high = (float(end) for end in where.get("intensity_range", (0, 1)))
            height, width, n_frames = result.shape
            self._kept.append(_KeptSeries(file, path, truth_path, index, (low, high), (height, width, n_frames)))

    def _finish(self, engine: Workflow) -> None:
        gathered = cast("list[list[_KeptSeries]]", idist.all_gather(self._kept))
        try:
            if idist.get_rank() == 0:
                self._write(_in_order(gathered))
        finally:
            idist.barrier()  # the other processes' files are read until here
            self._discard()

    def _abandon(self, engine: Workflow, error: BaseException) -> None:
        self._discard()
        raise error

    def _discard(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
        self._folder, self._kept = None, []

    def _reader(self, path: str, truth_path: str | None) -> CineReader:
        if path not in self._readers:
            reader = self._readers[path] = open_cine(path, truth_path, **self.options)
            for image_format in [name for name in self.formats if name != "h5"]:
                self._sinks[path, image_format] = self._open_sink(reader, image_format)
            reader.close()
        return self._readers[path]

    def _open_sink(self, reader: CineReader, image_format: str) -> Sink:
        stem, suffix = split_suffix(reader.path)
        ending = suffix if suffix.lower() in _NIFTI else ".nii.gz"
        target = self.output_dir / f"{stem}_recon{'' if image_format == 'dicom' else ending}"
        if target.resolve() == reader.path.resolve():
            raise DataError(f"{reader.path}: the result would replace it; choose another output_dir")
        if target.is_dir():
            raise DataError(f"{target}: exists already; remove it, or choose another output_dir")
        spec = reader.image_spec
        if image_format == "dicom" and not isinstance(spec.native, DicomSeries):
            spec = replace(spec, native=NewMrSeries(stem, "reconstruction"))
        return open_sink(target, spec)

    def _write(self, series: list[_KeptSeries]) -> None:
        readers = {one.path: self._reader(one.path, one.truth_path) for one in series}  # of other processes too
        if "h5" in self.formats:
            attributes = {path: series_attributes(reader.files, reader.geometry) for path, reader in readers.items()}
            for n, size in enumerate(dict.fromkeys(one.size for one in series)):
                target = self.output_dir / ("result.h5" if n == 0 else f"result_{'x'.join(map(str, size))}.h5")
                results = [one.as_result(attributes[one.path]) for one in series if one.size == size]
                write_results(target, results)
                logger.info(f"{len(results)} series of {' x '.join(map(str, size))} are in {target}")
        written: dict[Path, str] = {}
        for (path, _), sink in self._sinks.items():
            if sink.path in written:
                raise DataError(f"{path}: {sink.path} is that of {written[sink.path]} already; rename one of the two")
            written[sink.path] = path
            _write_image(sink, readers[path], {one.index: one for one in series if one.path == path})


def _write_image(sink: Sink, reader: CineReader, series: Mapping[int, _KeptSeries]) -> None:
    """Write the results of one file in its units and its place, one series in memory at a time."""
    missing = [str(index) for index in range(reader.n_series) if index not in series]
    if missing:
        raise DataError(f"{reader.path}: lacks series {', '.join(missing)}, not written; reconstruct all of them")
    for one in series.values():
        if one.size != reader.size:
            raise DataError(
                f"{reader.path}: expected results of {list(reader.size)} as the file has, got {list(one.size)}, whose "
                "place is not known; write format h5"
            )
    try:
        sink.begin()
        for index, one in series.items():
            low, high = one.intensity_range
            meant = np.moveaxis(one.load()["result"] * (high - low) + low, -1, 0)
            frames = sink.spec.intensity.stored(meant, sink.spec.dtype)
            has_slices = "z" in sink.spec.axes
            region = sink.spec.region(z=index) if has_slices else sink.spec.region()
            sink.write(region, frames[:, None] if has_slices else frames)
        sink.finish()
    except BaseException:
        sink.discard()
        raise


def _in_order(gathered: list[list[_KeptSeries]]) -> list[_KeptSeries]:
    """The series of all processes, each of which has every n-th file, in the order of the files."""
    placed: list[tuple[int, int, _KeptSeries]] = []
    for rank, kept in enumerate(gathered):
        files = {path: n for n, path in enumerate(dict.fromkeys(one.path for one in kept))}
        placed += [(files[one.path], rank, one) for one in kept]
    return [one for _, _, one in sorted(placed, key=lambda entry: entry[:2])]
