"""`python -m tools benchmark`: time and memory of this package beside public ones."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from common.data import SliceDataset, find_slices
from common.data.loading import training_loader
from common.inferers import TiledInferer
from common.io.atomic import atomic_path
from common.metrics.measures import gaussian_window, ssim
from common.metrics.protocols import get_protocol
from common.networks import LightCascade, RefineGanGenerator, SrResNetGenerator
from common.operators import fft2c
from common.operators.fourier import complex_to_channels
from common.operators.masks import MaskSampler
from common.operators.measurement import pack_measurement
from common.transforms import PrepareAcquisition
from tools.command import command

RATE = 0.25
WIDTH = 32
_STATUS = Path("/proc/self/status")
Work = Callable[[], Any]


@dataclass(frozen=True)
class Comparison:
    """Two ways of doing the same.

    Attributes:
        part: what is done.
        other: name of the other way; "" where there is nothing to compare with.
        units: number of slices, steps or images of one call; times are printed for one of them.
        ours: does it with this package.
        theirs: does it the other way, or None.
    """

    part: str
    other: str
    units: int
    ours: Work
    theirs: Work | None


@command
def benchmark(
    device: str = "cpu", pairs: int = 7, size: int = 320, only: str = "", public: str = "", output: str = ""
) -> str:
    """Measure this package and public ones in turns, and write a table.

    Each row compares two ways of the same work, which take turns; printed are medians, and the smallest and the largest
    ratio of a pair. On a CPU the time is that of the process, on one thread, and the memory is what the process grows
    by while it works. fastMRI's package is compared with where it is installed (`pip install fastmri`).

    Args:
        device: device of networks and masks, such as cpu or cuda.
        pairs: number of measurements of each way.
        size: height and width of slices.
        only: text that the names of the measured rows contain.
        public: FILE.py:NAME, a function that makes another RefineGAN generator from its width: measurements
            ``(batch, 3, height, width)`` in, an image ``(batch, 2, height, width)``, or several of them, out.
        output: Markdown file to write the table into, such as docs/BENCHMARK.md.
    """
    if pairs < 1:
        raise ValueError(f"--pairs: expected 1 or more, got {pairs}")
    where = torch.device(device)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for one in _comparisons(where, size, _public_network(public), Path(folder)):
            if only in one.part:
                rows.append(_row(one, where, pairs))
                sys.stderr.write(rows[-1] + "\n")
    if not rows:
        raise ValueError(f"--only: no row has {only!r} in its name; leave the option out for all of them")
    text = _page(rows, where, pairs)
    if output:
        with atomic_path(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return text


def _comparisons(
    device: torch.device, size: int, public: Callable[[int], nn.Module] | None, folder: Path
) -> Iterator[Comparison]:
    yield from _of_metrics(size)
    for shape in ((size, size), (2 * size, 23 * size // 20)):  # of 320: the 640 x 368 of fastMRI's knees
        yield from _of_loading(shape, device, folder / str(shape[0]))
    yield from _of_networks(size, device, public)
    yield from _of_tiles(size // 2, device)


def _of_metrics(size: int) -> Iterator[Comparison]:
    target = torch.rand(8, size, size)
    prediction = (target + 0.1 * torch.randn_like(target)).abs()
    volume, images = get_protocol("fastmri_volume"), (target.numpy(), prediction.numpy())
    evaluate = _fastmri("evaluate")
    theirs = None if evaluate is None else lambda: [getattr(evaluate, name)(*images) for name in volume.metrics]
    ours = partial(volume.evaluate, prediction, target)
    yield Comparison("PSNR, SSIM, NMSE of a volume, a slice", "fastmri.evaluate", 8, ours, theirs)
    window = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    yield Comparison(
        "SSIM in a Gaussian window, a slice",
        "scikit-image",
        8,
        lambda: ssim(prediction, target, gaussian_window()),
        lambda: [
            structural_similarity(one.astype(np.float64), other.astype(np.float64), **window)
            for one, other in zip(*images, strict=True)
        ],
    )


def _of_loading(shape: tuple[int, int], device: torch.device, folder: Path) -> Iterator[Comparison]:
    """Read fully sampled k-space, draw masks, undersample, collate batches of 8 on the device; a file of 16 slices."""
    folder.mkdir()
    image = torch.rand(16, *shape)
    with h5py.File(folder / "slices.h5", "w") as file:
        file["kspace"] = fft2c(image.to(torch.complex64)).numpy()
        file["reconstruction_esc"] = image.numpy()
        file.attrs["max"] = 1.0
    entries = find_slices(folder)
    prepare = PrepareAcquisition(MaskSampler("cartesian", RATE))
    usual = None
    if (transforms := _fastmri("data.transforms")) and (subsample := _fastmri("data.subsample")):
        transform = transforms.UnetDataTransform("singlecoil", subsample.RandomMaskFunc([0.08], [round(1 / RATE)]))
        usual = partial(_pass, DataLoader(_FastmriSlices(entries, transform), batch_size=8), lambda b: b[0].to(device))
    for cache in (False, True):
        loader = training_loader(SliceDataset(entries, cache=cache), 8)
        name = f"loading and undersampling {shape[0]} x {shape[1]}{', cached' * cache}, a slice"
        ours = partial(_pass, loader, partial(prepare, device=device))
        yield Comparison(name, "fastmri's U-Net transform", 16, ours, usual)


def _pass(loader: Any, step: Callable[[Any], Any]) -> None:
    for batch in loader:
        step(batch)


class _FastmriSlices(Dataset):
    """Slices read as the data set of fastMRI's package reads them, without the header that only its files have."""

    def __init__(self, entries: list[dict[str, Any]], transform: Callable[..., Any]) -> None:
        self.entries = entries
        self.transform = transform

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Any:
        entry = self.entries[index]
        with h5py.File(entry["path"]) as file:
            kspace, target = file["kspace"][entry["slice"]], file["reconstruction_esc"][entry["slice"]]
            attributes = {**dict(file.attrs), "padding_left": 0, "padding_right": kspace.shape[-1]}
        sample = self.transform(kspace, None, target, attributes, Path(entry["path"]).name, entry["slice"])
        return sample.image, sample.target


def _of_networks(size: int, device: torch.device, public: Callable[[int], nn.Module] | None) -> Iterator[Comparison]:
    """Compare generators, with one loss and one optimiser: the sum of |image - truth| over the images, and Adam."""
    size = size // 16 * 16
    images = torch.rand(2, 1, size, size).to(torch.complex64)
    mask = MaskSampler("cartesian", RATE)((size, size), seed=0, batch=2)
    measurement = pack_measurement(fft2c(images) * mask, mask).to(device)
    truth = complex_to_channels(images).to(device)
    paper = RefineGanGenerator(WIDTH).to(device)
    other = None if public is None else public(WIDTH).to(device)
    cascade = LightCascade().to(device)
    for task, work in (("training step", _training), ("inference", _inference)):
        name = f"RefineGAN generator {size} x {size}, {task}"
        theirs = None if other is None else work(other, measurement, truth)
        ours = work(paper, measurement, truth)
        yield Comparison(name, "public implementation", 1, ours, theirs)
        name = f"light cascade {size} x {size}, {task}"
        yield Comparison(name, "our RefineGAN generator", 1, work(cascade, measurement, truth), ours)


def _training(network: nn.Module, measurement: Tensor, truth: Tensor) -> Work:
    optimizer = torch.optim.Adam(network.parameters(), 1e-6)
    forward: Callable[[Tensor], Any] = getattr(network, "stages", network)

    def step() -> None:
        network.train()
        found = forward(measurement)
        images = [found] if isinstance(found, Tensor) else found
        loss = torch.stack([(image - truth).abs().mean() for image in images]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _inference(network: nn.Module, measurement: Tensor, truth: Tensor) -> Work:
    def run() -> None:
        with torch.inference_mode():
            network.eval()(measurement[:1])

    return run


def _of_tiles(size: int, device: torch.device) -> Iterator[Comparison]:
    """Enlarge an image four times in tiles of half its size."""
    network = SrResNetGenerator(upscale=4, width=WIDTH, n_blocks=4).to(device).eval()
    image = torch.rand(1, 1, size, size, device=device)
    tile = size // 2
    ways = TiledInferer(tile), SlidingWindowInferer((tile, tile), overlap=0.25, mode="gaussian")
    ours, theirs = (partial(_tiled, inferer, image, network) for inferer in ways)
    yield Comparison(f"super-resolution of {size} x {size} in tiles", "MONAI SlidingWindowInferer", 1, ours, theirs)


def _tiled(inferer: Any, image: Tensor, network: nn.Module) -> None:
    with torch.inference_mode():
        inferer(image, network)


def _fastmri(name: str) -> Any:
    """Return a module of fastMRI's package, None where the package is not installed."""
    return importlib.import_module(f"fastmri.{name}") if importlib.util.find_spec("fastmri") else None


def _public_network(place: str) -> Callable[[int], nn.Module] | None:
    if not place:
        return None
    path, _, name = place.rpartition(":")
    if not path or not Path(path).is_file():
        raise FileNotFoundError(f"--public: expected FILE.py:NAME of a file that exists, got {place}")
    sys.path.insert(0, str(Path(path).resolve().parent))
    found = getattr(importlib.import_module(Path(path).stem), name, None)
    if found is None:
        raise ValueError(f"--public: {path} has no {name}; define a function of that name that makes the network")
    return found


def _row(comparison: Comparison, device: torch.device, pairs: int) -> str:
    ways = [comparison.ours] + ([] if comparison.theirs is None else [comparison.theirs])
    for way in ways:  # fills caches, and leaves out what happens once
        way()
    found = np.array([[_measure(way, device) for way in ways] for _ in range(pairs)])  # pair, way, (seconds, MB)
    milliseconds, megabytes = 1000 * np.median(found[..., 0], axis=0) / comparison.units, found[..., 1].max(axis=0)
    if comparison.theirs is None:
        cells = [f"{milliseconds[0]:.2f}", "", "", f"{megabytes[0]:.0f}", ""]
        return _line(comparison.part, f"{comparison.other}: not given or not installed", *cells)
    ratios = found[:, 0, 0] / found[:, 1, 0]
    spread = f"**{np.median(ratios):.2f}** ({ratios.min():.2f} to {ratios.max():.2f})"
    times, sizes = [f"{value:.2f}" for value in milliseconds], [f"{value:.0f}" for value in megabytes]
    return _line(comparison.part, comparison.other, *times, spread, *sizes)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _measure(work: Work, device: torch.device) -> tuple[float, float]:
    """Seconds of the processor, or on a GPU of the clock, and MB that are taken at most."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before, begin = torch.cuda.memory_allocated(device), time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - begin
        return seconds, (torch.cuda.max_memory_allocated(device) - before) / 1e6
    before = _reset_peak()
    begin = time.process_time()
    work()
    return time.process_time() - begin, (_peak() - before) / 1e6


def _reset_peak() -> int:
    """Let Linux forget the peak of this process's memory, and return the bytes it takes now."""
    if not _STATUS.is_file():
        return 0
    _STATUS.with_name("clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Most bytes that this process took since the peak was reset; 0 where the system does not say."""
    lines = _STATUS.read_text().splitlines() if _STATUS.is_file() else []
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _page(rows: list[str], device: torch.device, pairs: int) -> str:
    """Return the Markdown document."""
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if gpu else f"one thread of {platform.machine()}"
    options = [word for word in sys.argv[1:] if word != "benchmark"]
    lines = [
        "# Time and memory beside public packages",
        "",
        f"    {shlex.join(['python', '-m', 'tools', 'benchmark', *options])}",
        "",
        f"Device {device.type} ({name}), PyTorch {torch.__version__}, {pairs} pairs in turns. Times are medians in",
        f"milliseconds {'of the clock' if gpu else 'of processor time'}. A ratio below 1 means that this package is",
        "faster; in brackets are the smallest and the largest of all pairs. Memory is the largest growth while the",
        "work runs, in MB (0 where free memory is enough). Data are random numbers. Training steps have the generator",
        "alone, a batch of 2, the sum of |image - truth| over its images and Adam.",
        "",
        _line("part", "beside", "ours, ms", "other, ms", "ours / other", "ours, MB", "other, MB"),
        _line("---", "---", *["---:"] * 5),
        *rows,
        "",
    ]
    return "\n".join(lines)
