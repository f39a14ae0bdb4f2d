from __future__ import annotations

import math
import pickle

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from PIL import Image
from scipy.ndimage import label
from scipy.spatial import KDTree

from common.operators.masks import MASK_FAMILIES, FixedMask, MaskSampler, mask_source, sampling_mask
from common.operators.masks.densities import _throw_darts, disc_radius
from common.operators.masks.grid import center_box
from common.operators.masks.streams import uniform
from common.operators.masks.trajectories import spoke_angles

LINES = ("cartesian", "equispaced")
SPOKES = ("radial", "radial_golden")
# families with as many masks as seeds: equispaced lines differ by their offset alone, which repeats
RANDOM = tuple(family for family in MASK_FAMILIES if family != "equispaced")
RATES = [percent / 100 for percent in range(10, 100, 10)]
SIZES = [(64, 64), (65, 51), (48, 96), (31, 40)]


def spokes_of(mask, angle):
    """Fraction of the samples on a ray from DC, as far as the nearest edge is, that the mask holds."""
    height, width = mask.shape
    longer = max(abs(math.cos(angle)), abs(math.sin(angle)))
    steps = torch.arange(1, int(longer * min(height, width) / 2) - 1, dtype=torch.float64)
    rows = (steps * math.sin(angle) / longer).round().long() + height // 2
    columns = (steps * math.cos(angle) / longer).round().long() + width // 2
    return mask[rows, columns].mean()


# ---------------------------------------------------------------------------------------------------- every family


@pytest.mark.parametrize("family", MASK_FAMILIES)
@pytest.mark.parametrize("rate", RATES)
def test_rate_is_met_for_any_size(family, rate):
    for height, width in SIZES:
        mask = sampling_mask(family, (height, width), rate, seed=5, batch=3)
        assert mask.shape == (3, 1, height, width)
        assert mask.dtype == torch.float32
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        samples = round(rate * width) * height if family in LINES else round(rate * height * width)
        assert mask.sum(dim=(1, 2, 3)).tolist() == [samples] * 3


@pytest.mark.parametrize("family", MASK_FAMILIES)
def test_half_a_percent_of_the_samples_at_the_papers_size(family):
    for rate in RATES:
        mask = sampling_mask(family, (256, 256), rate, seed="case_07.png")
        assert abs(float(mask.mean()) - rate) < 0.005


@given(
    family=st.sampled_from(MASK_FAMILIES),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    rate=st.floats(0.001, 1),
    seed=st.one_of(st.integers(), st.text(max_size=8)),
)
def test_any_size_rate_and_seed(family, height, width, rate, seed):
    mask = sampling_mask(family, (height, width), rate, seed=seed)
    assert mask[0, 0, height // 2, width // 2] == 1
    budget = max(1, round(rate * width)) * height if family in LINES else max(1, round(rate * height * width))
    assert mask.sum() == budget
    assert torch.equal(mask, sampling_mask(family, (height, width), rate, seed=seed))


@pytest.mark.parametrize("family", MASK_FAMILIES)
def test_full_rate_takes_every_sample(family):
    assert sampling_mask(family, (12, 17), 1.0, seed=0).all()


@pytest.mark.parametrize("family", MASK_FAMILIES)
def test_accel_is_one_over_rate(family):
    by_accel = sampling_mask(family, (40, 44), accel=4, seed=1)
    assert torch.equal(by_accel, sampling_mask(family, (40, 44), 0.25, seed=1))


@pytest.mark.parametrize("family", MASK_FAMILIES)
def test_mask_does_not_depend_on_its_batch(family):
    many = sampling_mask(family, (40, 36), 0.3, seed="a.png", batch=5)
    few = sampling_mask(family, (40, 36), 0.3, seed="a.png", batch=2)
    assert torch.equal(many[:2], few)
    named = sampling_mask(family, (40, 36), 0.3, seed=["b.png", "a.png"])
    assert torch.equal(named[1:], many[:1])
    assert torch.equal(named[:1], sampling_mask(family, (40, 36), 0.3, seed="b.png"))


@pytest.mark.parametrize("family", RANDOM)
def test_masks_of_a_batch_and_of_seeds_differ(family):
    batches = [sampling_mask(family, (64, 60), 0.3, seed=seed, batch=6) for seed in (0, 1, -1, "0", "1")]
    different = {mask.numpy().tobytes() for batch in batches for mask in batch}
    assert len(different) == 30


def test_equispaced_offsets_differ_within_a_batch():
    masks = sampling_mask("equispaced", (8, 100), 0.1, seed=0, batch=8)
    assert len({mask.numpy().tobytes() for mask in masks}) > 4


def test_seeds_mean_the_same_in_every_process_and_version():
    by_name = sampling_mask("cartesian", (1, 20), 0.3, seed="case_1.h5")[0, 0, 0]
    assert by_name.nonzero().flatten().tolist() == [2, 7, 8, 9, 10, 15]
    by_number = sampling_mask("gaussian", (3, 5), 0.4, seed=2024, batch=2)[1, 0]
    assert by_number.flatten().nonzero().flatten().tolist() == [1, 6, 7, 8, 9, 12]


def test_streams_are_splitmix64():
    """The published outputs for seed 1234567, the reference vector of Vigna's implementation."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    numbers = uniform(torch.tensor([1234567]), 4)[0]
    assert numbers.tolist() == [((value >> 11) + 0.5) * 2.0**-53 for value in published]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", MASK_FAMILIES)
def test_masks_are_the_same_on_the_gpu(family):
    on_gpu = sampling_mask(family, (64, 65), 0.3, seed=3, batch=4, device="cuda")
    assert on_gpu.is_cuda
    # float64 functions may differ in the last bit, and so swap two samples that are equally good
    assert (on_gpu.cpu() != sampling_mask(family, (64, 65), 0.3, seed=3, batch=4)).float().mean() < 1e-3


# ----------------------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize("family", LINES)
def test_columns_are_whole_and_the_centre_is_full(family):
    mask = sampling_mask(family, (33, 100), 0.25, center_fraction=0.08, seed=2, batch=4)[:, 0]
    assert torch.equal(mask, mask[:, :1].expand_as(mask))
    assert mask[:, :, 46:54].all()


@pytest.mark.parametrize("family", LINES)
def test_default_centre_is_that_of_fastmri(family):
    """0.08 of the lines at 4-fold acceleration."""
    masks = sampling_mask(family, (1, 400), accel=4, seed=0, batch=8)
    assert masks[..., 184:216].all()
    assert not masks[..., 183].all() or not masks[..., 216].all()


def test_cartesian_lines_are_even_outside_the_centre():
    masks = sampling_mask("cartesian", (1, 50), 0.3, center_fraction=0.1, seed=0, batch=2000)[:, 0, 0]
    outside = torch.cat([masks[:, :23], masks[:, 28:]], dim=1)
    torch.testing.assert_close(outside.mean(0), torch.full((45,), 10 / 45), atol=0.05, rtol=0)


@pytest.mark.parametrize("rate", RATES)
def test_equispaced_has_one_spacing(rate):
    width, n_center = 250, 8
    for mask in sampling_mask("equispaced", (1, width), rate, center_fraction=n_center / width, seed=0, batch=4):
        lines = mask[0, 0].nonzero().flatten()
        spacing = (width - n_center) / (round(rate * width) - n_center)
        for side in (lines[lines < 121], lines[lines >= 129]):
            assert set(side.diff().tolist()) <= {math.floor(spacing), math.ceil(spacing)}


def test_equispaced_offset_places_the_first_line():
    def first(offset):
        mask = sampling_mask("equispaced", (1, 100), 0.1, center_fraction=0.02, offset=offset, seed=0)
        return int(mask[0, 0, 0].argmax())

    assert [first(0), first(0.5), first(0.99)] == [0, 6, 12]  # 98 other lines, 8 taken: spacing 12.25


# ---------------------------------------------------------------------------------------------- 2-D point sets


@pytest.mark.parametrize("family", ["gaussian", "spiral", "poisson"])
@pytest.mark.parametrize(("shape", "box"), [((60, 80), (27, 33, 36, 44)), ((61, 41), (27, 33, 18, 22))])
def test_central_box_is_full(family, shape, box):
    mask = sampling_mask(family, shape, 0.1, center_fraction=0.1, seed=0, batch=3)
    assert mask[:, 0, box[0] : box[1], box[2] : box[3]].all()


def test_gaussian_density_falls_with_the_radius():
    masks = sampling_mask("gaussian", (64, 96), 0.2, seed=0, batch=64)[:, 0]
    rows, columns = (torch.arange(64) - 32)[:, None] / 32, (torch.arange(96) - 48)[None] / 48
    radius = torch.hypot(rows, columns)
    rings = [float(masks[:, (radius >= r) & (radius < r + 0.2)].mean()) for r in (0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert rings == sorted(rings, reverse=True)
    assert rings[0] > 0.7
    assert rings[-1] < 0.02


def test_gaussian_sigma_sets_the_spread():
    narrow, wide = (sampling_mask("gaussian", (64, 64), 0.1, sigma=s, seed=0)[0, 0] for s in (0.2, 5.0))
    assert narrow[22:42, 22:42].mean() > 0.6
    assert wide[22:42, 22:42].mean() < 0.2


@pytest.mark.parametrize("variation", [1.0, 4.0])
def test_poisson_keeps_its_distance(variation):
    """No two samples are closer than the smaller of their radii, at the radius that random sequential packing has.

    Discs packed at random jam at 0.547 of the area (Feder 1980): 0.70 samples per squared distance. A grid has only
    some distances (2.24 and then 2.83), so the one kept can be a step smaller.
    """
    shape, rate = (96, 80), 0.1
    center = center_box(shape, rate, None, torch.device("cpu"))
    radius = disc_radius(shape, variation, center)
    density = (1 / radius[~center] ** 2).mean()
    packed = math.sqrt(0.70 * float(density) / rate)
    for mask in sampling_mask("poisson", shape, rate, variation=variation, seed=0, batch=4)[:, 0]:
        points = (mask.bool() & ~center).nonzero()
        first, second = KDTree(points.numpy()).query_pairs(20.0, output_type="ndarray").T
        distance = (points[first] - points[second]).double().norm(dim=1)
        radii = radius[tuple(points.T)]
        assert float((distance / torch.minimum(radii[first], radii[second])).min()) > 0.84 * packed


@given(height=st.integers(1, 14), width=st.integers(1, 14), largest=st.floats(0.5, 6), seed=st.integers(0, 2**16))
def test_darts_thrown_together_land_as_one_by_one(height, width, largest, seed):
    rng = np.random.default_rng(seed)
    priority, radius = rng.permutation(height * width) + 1.0, rng.uniform(0, largest, height * width)
    points = np.argwhere(np.ones((height, width)))
    taken: list[int] = []
    for dart in np.argsort(-priority):
        distance = np.linalg.norm(points[taken] - points[dart], axis=1)
        if (distance >= np.minimum(radius[taken], radius[dart])).all():
            taken.append(dart)
    grids = (torch.from_numpy(values).view(-1, height, width) for values in (priority, radius))
    thrown = _throw_darts(next(grids), next(grids)[0])
    assert thrown.flatten().nonzero().flatten().tolist() == sorted(taken)


def test_poisson_leaves_no_gap():
    """Variation 1 at 10 %: every sample has a neighbour within the packing radius, plus the trimmed 1 %."""
    mask = sampling_mask("poisson", (96, 80), 0.1, variation=1.0, seed=0)[0, 0]
    distance, _ = KDTree(mask.nonzero().numpy()).query(np.argwhere(np.ones((96, 80))))
    assert np.mean(distance > 3.5) < 0.02
    assert distance.max() < 7


def test_poisson_is_full_where_discs_hold_one_sample():
    mask = sampling_mask("poisson", (80, 80), 0.6, seed=0)[0, 0]
    assert mask[30:50, 30:50].all()
    assert mask[:8, :8].mean() < 0.4


# ------------------------------------------------------------------------------------------------- trajectories


@pytest.mark.parametrize("family", SPOKES)
@pytest.mark.parametrize(("height", "width"), [(65, 65), (51, 77)])
def test_spokes_are_symmetric_about_dc(family, height, width):
    for rate in (0.1, 0.3, 0.6):
        mask = sampling_mask(family, (height, width), rate, seed=1, batch=3)[:, 0]
        # an even number of samples leaves one without its opposite
        assert (mask != mask.flip(1, 2)).sum((1, 2)).max() <= 2 * ((round(rate * height * width) + 1) % 2)


def test_radial_10_percent_is_27_even_spokes():
    """As in the paper's masks of 256 x 256; the rate counts their overlap about DC."""
    mask = sampling_mask("radial", (256, 256), 0.1, angle_deg=0, seed=0)[0, 0]
    held = torch.stack([spokes_of(mask, math.pi * step / 54) for step in range(54)])
    assert (held[0::2] > 0.99).all()
    assert (held[1::2] < 0.4).all()


def test_radial_spokes_are_straight_and_only_their_ends_are_cut():
    masks = sampling_mask("radial", (129, 129), 0.2, seed=0, batch=4)[:, 0]
    assert masks[:, 60:69, 60:69].all()  # spokes are closer than one sample there
    circle = torch.linspace(0, 2 * math.pi, 5001, dtype=torch.float64)[:-1]
    rows, columns = (60 * circle.sin()).round().long() + 64, (60 * circle.cos()).round().long() + 64
    crossings = (masks[:, rows, columns].diff(dim=1, append=masks[:, rows[:1], columns[:1]]) == 1).sum(1)
    assert len(set(crossings.tolist())) == 1
    assert crossings[0] % 2 == 0


def test_radial_angle_turns_the_fan():
    row = sampling_mask("radial", (64, 64), 0.05, angle_deg=0, seed=0)[0, 0]
    column = sampling_mask("radial", (64, 64), 0.05, angle_deg=90, seed=0)[0, 0]
    assert row[32, 6:58].all()
    assert column[6:58, 32].all()
    assert torch.equal(row, sampling_mask("radial", (64, 64), 0.05, angle_deg=0, seed=9)[0, 0])


def test_golden_spokes_follow_the_golden_angle():
    angles = spoke_angles(10, torch.zeros(1, 1, dtype=torch.float64), golden=True)[0]
    assert torch.allclose(angles.diff().rad2deg(), torch.full((9,), 111.246117975, dtype=torch.float64))
    mask = sampling_mask("radial_golden", (128, 128), 0.1, angle_deg=20, seed=0)[0, 0]
    held = [float(spokes_of(mask, math.radians(20 + 111.246117975 * step))) for step in range(12)]
    assert min(held) == 1.0


def test_golden_mask_grows_spoke_by_spoke():
    few, many = (sampling_mask("radial_golden", (64, 60), rate, seed=4) for rate in (0.1, 0.35))
    assert (many >= few).all()


def test_spiral_is_a_connected_line_that_turns_outwards():
    mask = sampling_mask("spiral", (128, 128), 0.1, power=1.0, angle_deg=0, seed=0)[0, 0]
    rows, columns = np.mgrid[-64:64, -64:64]
    disc = np.hypot(rows, columns) < 60  # in the corners the square cuts the turns apart
    _, n_parts = label(mask.numpy() * disc, structure=np.ones((3, 3)))
    assert n_parts <= 8
    along = mask[64, 64:].nonzero().flatten().double()
    gaps = along[along > 3].diff()
    assert gaps.max() - gaps.min() <= 1  # Archimedes: the turns are equally far apart
    assert abs(float(gaps.mean()) - 1 / (0.1 * 1.1)) < 1.5


def test_spiral_power_draws_the_turns_to_the_centre():
    def centre(power):
        return float(sampling_mask("spiral", (128, 128), 0.2, power=power, seed=0)[0, 0, 48:80, 48:80].mean())

    assert centre(1.0) < centre(2.0) < centre(4.0)


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("rate", [0, 1.5, -0.1, math.nan])
def test_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=rf"rate.*must be in \(0, 1\], got {rate}"):
        sampling_mask("radial", (8, 8), rate, seed=0)


@pytest.mark.parametrize("accel", [0, 0.5, -4, math.nan])
def test_accel_out_of_range(accel):
    with pytest.raises(ValueError, match=f"accel must be at least 1, got {accel}"):
        sampling_mask("radial", (8, 8), accel=accel, seed=0)


def test_rate_and_accel_exclude_each_other():
    with pytest.raises(ValueError, match=r"either rate or accel.*rate=None and accel=None"):
        sampling_mask("radial", (8, 8), seed=0)
    with pytest.raises(ValueError, match=r"either rate or accel.*rate=0.5 and accel=2"):
        sampling_mask("radial", (8, 8), 0.5, accel=2, seed=0)


def test_unknown_family_and_options_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown mask family 'radail'; choose one of cartesian, equispaced, gaussian"):
        sampling_mask("radail", (8, 8), 0.5, seed=0)
    with pytest.raises(ValueError, match="unknown option 'sigma' of mask family 'radial'; it knows angle_deg"):
        sampling_mask("radial", (8, 8), 0.5, seed=0, sigma=1)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (
            "cartesian",
            {"center_fraction": 0.5},
            "center_fraction=0.5 alone takes 20 of 40 lines, but rate=0.1 allows 4",
        ),
        ("equispaced", {"center_fraction": 1.2}, r"center_fraction must be in \[0, 1\], got 1.2"),
        ("equispaced", {"offset": 1}, r"offset must be in \[0, 1\)"),
        ("gaussian", {"center_fraction": 0.5}, "takes 400 of .* samples, but rate=0.1 allows 160"),
        ("gaussian", {"sigma": 0}, "sigma must be positive, got 0"),
        ("poisson", {"variation": 0.5}, "variation must be at least 1"),
        ("spiral", {"power": 0.5}, "power must be at least 1"),
    ],
)
def test_options_out_of_range(family, options, message):
    with pytest.raises(ValueError, match=message):
        sampling_mask(family, (40, 40), 0.1, seed=0, **options)


def test_bad_seeds_and_sizes():
    with pytest.raises(TypeError, match=r"seed must be an integer, a file name .*, got 0.5"):
        sampling_mask("radial", (8, 8), 0.5, seed=0.5)
    with pytest.raises(TypeError, match="seed must be an integer or a file name, got None"):
        sampling_mask("radial", (8, 8), 0.5, seed=[None])
    with pytest.raises(ValueError, match="2 seeds for batch=3"):
        sampling_mask("radial", (8, 8), 0.5, seed=["a", "b"], batch=3)
    with pytest.raises(ValueError, match="got height=0, width=8"):
        sampling_mask("radial", (0, 8), 0.5, seed=0)


# ------------------------------------------------------------------------------------- masks as configured objects


def test_sampler_from_a_config_and_through_pickle():
    config = {"_target_": "common.operators.masks.MaskSampler", "family": "gaussian", "accel": 5, "sigma": 0.4}
    sampler = ConfigParser({"mask": config}).get_parsed_content("mask")
    assert isinstance(sampler, MaskSampler)
    expected = sampling_mask("gaussian", (20, 30), 0.2, sigma=0.4, seed="x", batch=2)
    assert torch.equal(sampler((20, 30), "x", 2), expected)
    assert torch.equal(pickle.loads(pickle.dumps(sampler))((20, 30), "x", 2), expected)
    assert repr(sampler) == "MaskSampler('gaussian', rate=0.2, sigma=0.4)"


def test_sampler_refuses_bad_settings_when_built():
    with pytest.raises(ValueError, match="unknown option 'centre'"):
        MaskSampler("poisson", 0.2, centre=0.1)
    with pytest.raises(ValueError, match="rate"):
        MaskSampler("poisson", 2)


@pytest.fixture
def sampled():
    return sampling_mask("radial", (32, 40), 0.3, seed=0)[0, 0].numpy() > 0


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, mask=values, rate=0.3)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["mask"] = values
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.npy", "m.npz", "m.h5"])
@pytest.mark.parametrize("as_stored", [lambda m: m, lambda m: m * np.uint8(255), lambda m: m * np.uint8(1)])
def test_fixed_mask_yields_the_file_for_any_seed(tmp_path, sampled, name, as_stored):
    fixed = FixedMask(write(tmp_path / name, as_stored(sampled)))
    expected = torch.from_numpy(sampled).float().expand(3, 1, 32, 40)
    for seed, batch in ((0, 3), ("a.png", 3), (["a", "b", "c"], 1)):
        mask = fixed((32, 40), seed, batch)
        assert mask.dtype == torch.float32
        assert torch.equal(mask, expected)
    assert torch.equal(pickle.loads(pickle.dumps(fixed))((32, 40), 1, 3), expected)
    assert fixed.rate == pytest.approx(0.3, abs=1e-3)


def test_fixed_mask_is_not_changed_by_its_caller(tmp_path, sampled):
    fixed = FixedMask(write(tmp_path / "m.npy", sampled))
    fixed((32, 40), 0).zero_()
    assert fixed((32, 40), 0).any()


def test_fixed_mask_reads_palette_images(tmp_path, sampled):
    path = tmp_path / "m.png"
    Image.fromarray(sampled * np.uint8(255)).convert("P").save(path)
    assert torch.equal(FixedMask(path)((32, 40), 0)[0, 0], torch.from_numpy(sampled).float())


def test_fixed_mask_errors(tmp_path, sampled):
    with pytest.raises(FileNotFoundError, match=r"no mask file .*none.png; give an existing"):
        FixedMask(tmp_path / "none.png")
    grey = sampled * np.uint8(255)
    grey[0, 0] = 7
    with pytest.raises(ValueError, match=r"grey.png: a mask holds 0 and one positive value, got 2 values .*, 7 to 255"):
        FixedMask(write(tmp_path / "grey.png", grey))
    with pytest.raises(ValueError, match="one positive value"):
        FixedMask(write(tmp_path / "negative.npy", -1.0 * sampled))
    with pytest.raises(ValueError, match="one positive value"):
        FixedMask(write(tmp_path / "nan.npy", np.where(sampled, np.nan, 0)))
    without_dc = sampled.copy()
    without_dc[16, 20] = False
    with pytest.raises(ValueError, match=r"corner.npy: the DC sample \[16, 20\] is not sampled; .*fftshift"):
        FixedMask(write(tmp_path / "corner.npy", without_dc))
    with pytest.raises(ValueError, match=r"is not sampled"):
        FixedMask(write(tmp_path / "empty.npy", 0 * sampled))
    with pytest.raises(ValueError, match=r"colour.png: expected one 2-D grey-scale mask, got .* \(32, 40, 3\)"):
        FixedMask(write(tmp_path / "colour.png", np.repeat(sampled[..., None] * np.uint8(255), 3, axis=2)))
    with pytest.raises(ValueError, match=r"shape \(32, 40\), but the images have \(40, 32\)"):
        FixedMask(write(tmp_path / "m.png", sampled))((40, 32), 0)


@pytest.mark.parametrize("name", ["m.png", "m.npy", "m.npz", "m.h5", "m.txt"])
def test_fixed_mask_from_a_file_that_is_not_one(tmp_path, name):
    path = tmp_path / name
    path.write_text("no mask")
    with pytest.raises(ValueError, match=f"{name}: cannot read a mask from it"):
        FixedMask(path)


def test_mask_source_takes_a_file_over_a_family(tmp_path):
    drawn = mask_source("radial", 0.2, {"angle_deg": 0.0})((32, 32), seed=1)
    assert torch.equal(drawn, sampling_mask("radial", (32, 32), 0.2, seed=9, angle_deg=0.0))
    np.save(tmp_path / "mask.npy", np.ones((32, 32)))
    assert mask_source("radial", 0.2, file=tmp_path / "mask.npy")((32, 32), seed=1).mean() == 1
    with pytest.raises(ValueError, match="angle_deg"):
        mask_source("gaussian", 0.2, {"angle_deg": 0.0})
