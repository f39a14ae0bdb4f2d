"""The figure of a reconstructed slice or plane: mask, methods, target, details and error maps."""

from __future__ import annotations

from collections.abc import Sequence

from common.figures.parts import ERROR, STD, Block, Panel, block_of, quality
from common.figures.scales import detailed_part, error_scale_of, errors, grey_window, planes, reference_of, std_scale_of
from common.metrics.case import Case, require_slice_protocol
from common.metrics.cases import label
from common.metrics.protocols import Protocol, get_protocol

MASK, TARGET, DEVIATION = "mask", "target", "std"


def case_figure(
    cases: Case | Sequence[Case],
    *,
    protocol: str = "magnitude_slice",
    zoom: int = 1,
    error_scale: float | None = None,
    std_scale: float | None = None,
) -> list[Block]:
    """Lay cases out, a block each: mask | each method | target, and below them the methods' error maps.

    The magnitudes of a case share one grey window, see :func:`common.figures.scales.grey_window`, of the target, or of
    the reconstruction where there is none. The errors |magnitude - target's magnitude| of all cases share one scale.
    Under the errors are PSNR and SSIM by the named protocol; those of a volume, of which the middle plane is drawn, are
    the volume's. The standard deviation of samples, where there is one, is below the target in a scale of its own.

    Args:
        cases: one, or several; those without a target are drawn without errors.
        protocol: name of a protocol of slices or images.
        zoom: magnification of the part with the most detail, in a row of its own; 1 leaves it out.
        error_scale: end of the scale of the error maps; None: `error_scale_of` these cases.
        std_scale: end of the scale of the standard deviations; None: `std_scale_of` these cases.

    Raises:
        ValueError: there is no case, shapes of a case differ, a value is not finite, or the protocol is unknown or
            for volumes.
    """
    chosen = require_slice_protocol(get_protocol(protocol))
    cases = [cases] if isinstance(cases, Case) else list(cases)
    if not cases:
        raise ValueError("a figure needs at least one case, got none; evaluate data first")
    if zoom < 1:
        raise ValueError(f"zoom must be 1 or more, got {zoom}")
    scales = (
        error_scale_of(cases) if error_scale is None else error_scale,
        std_scale_of(cases) if std_scale is None else std_scale,
    )
    return [_block(case, chosen, zoom, *scales) for case in cases]


def _block(case: Case, protocol: Protocol, zoom: int, error_scale: float, std_scale: float) -> Block:
    images = planes(case)
    reference = reference_of(case, images)
    window, differences = grey_window(reference), errors(case, images)
    number = "" if case.n_samples is None else f"{case.n_samples} "
    deviation = None
    if DEVIATION in images:
        deviation = Panel(images[DEVIATION], f"deviation of {number}samples", STD, std_scale)
    names = [name for name in images if name != DEVIATION]
    part = detailed_part(reference, zoom) if zoom > 1 else None
    first: list[Panel | None] = []
    for name in names:
        title, is_mask = label(name), name == MASK
        first.append(Panel(images[name], title, end=1.0 if is_mask else window, frame=None if is_mask else part))
    rows = [first]
    if part:
        rows.append([None if name == MASK else Panel(images[name][part], end=window) for name in names])
    notes = [f"{(images[MASK] > 0).mean():.1%} of k-space sampled"] if MASK in images else []
    notes += [f"grey 0 to {window:.3g}"]
    if differences:
        rows.append([deviation if name == TARGET else None for name in names])
        for method, difference in differences.items():
            words = "difference to the target", ERROR, error_scale, quality(case, method, protocol)
            rows[-1][names.index(method)] = Panel(difference, *words)
        notes += [f"deviation 0 to {std_scale:.3g}"] if deviation else []
        notes += [f"errors 0 to {error_scale:.3g}", f"PSNR and SSIM by protocol {protocol.name}"]
    elif deviation:  # no target stands above it
        rows = [[*row, deviation if row is first else None] for row in rows]
        notes += [f"deviation 0 to {std_scale:.3g}"]
    return block_of(case, notes, rows, middle_plane=next(iter(case.methods.values())).ndim == 3)
