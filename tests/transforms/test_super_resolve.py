"""Batch preparation of super-resolution: degraded images, pairs, patches at one place, patch size by phase."""

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import Tensor, nn

from common.data import DataError
from common.engines import GanTrainer, Phase
from common.operators.degradation import Downscale, GaussianNoise, KspaceTruncation, degradation
from common.transforms import PrepareSuperResolution, RandomFlips, RandomView

CPU = torch.device("cpu")
BICUBIC = Downscale(4)


def images(batch=3, height=48, width=64, *depth):
    return torch.rand(batch, 1, height, width, *depth, generator=torch.Generator().manual_seed(0))


def from_files(*names, **entries):
    """A batch as the loader collates it."""
    batch = {"image": images(len(names)), "path": list(names), "slice": torch.arange(len(names))}
    return {**batch, **entries}


def seeded(prepare, batch, seed=0):
    torch.manual_seed(seed)
    return prepare(batch, CPU)


def numbered_pairs(upscale, *size, batch=6):
    """Low-resolution pixels with numbers of their own, and the blocks that stand for them."""
    lr_image = torch.arange(torch.Size((batch, 1, *size)).numel(), dtype=torch.float32).reshape(batch, 1, *size)
    hr_image = lr_image
    for axis in range(2, lr_image.ndim):
        hr_image = hr_image.repeat_interleave(upscale, dim=axis)
    return lr_image, hr_image


def blocks_of(lr_image, upscale):
    for axis in range(2, lr_image.ndim):
        lr_image = lr_image.repeat_interleave(upscale, dim=axis)
    return lr_image


# -- crops ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos", "bilinear"])
@pytest.mark.parametrize("margin", [None, 4])
def test_patches_lie_at_the_same_place(kernel, margin):
    """Away from its edges, the low-resolution patch is the high-resolution patch reduced."""
    reduce = Downscale(4, kernel)
    prepare = PrepareSuperResolution(4, reduce, patch_size=10, margin=margin)
    lr_image, label = seeded(prepare, {"image": images(5, 80, 96)})
    assert lr_image.shape == (5, 1, 10, 10)
    assert label.shape == (5, 1, 40, 40)
    again = reduce(label, torch.Generator())
    inside = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(lr_image[inside], again[inside], rtol=0, atol=1e-6)
    assert (lr_image - again).abs().max() > 1e-3  # the edge sees what is outside the patch


def test_patches_are_cut_from_the_degraded_image():
    """Of k-space truncation, whose ringing comes from all of the image."""
    image, truncate = images(4, 64, 48), KspaceTruncation(2)
    prepare = PrepareSuperResolution(2, truncate, patch_size=6)
    lr_image, label = seeded(prepare, {"image": image})
    whole = truncate(image, torch.Generator())
    for lr_patch, hr_patch, lr_whole, hr_whole in zip(lr_image, label, whole, image, strict=True):
        windows = hr_whole[0].unfold(0, 12, 2).unfold(1, 12, 2)
        (row,), (column,) = (windows == hr_patch[0]).all(dim=(2, 3)).nonzero(as_tuple=True)
        assert torch.equal(lr_patch[0], lr_whole[0, row : row + 6, column : column + 6])


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos", "box", "nearest"])
@pytest.mark.parametrize("size", [(64, 48), (32, 24, 28)], ids=str)
def test_a_margin_changes_nothing_but_time(kernel, size):
    batch = {"image": images(6, *size)}
    whole, label = seeded(PrepareSuperResolution(2, Downscale(2, kernel), patch_size=5), batch)
    window, same = seeded(PrepareSuperResolution(2, Downscale(2, kernel), patch_size=5, margin=4), batch)
    assert torch.equal(label, same)
    torch.testing.assert_close(window, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("upscale", "size"), [(2, (7, 9)), (4, (6, 5)), (2, (5, 6, 7))], ids=str)
@pytest.mark.parametrize("augmentation", [None, RandomFlips()], ids=["plain", "flips"])
def test_pairs_are_cropped_and_augmented_alike(upscale, size, augmentation):
    lr_image, hr_image = numbered_pairs(upscale, *size)
    prepare = PrepareSuperResolution(upscale, patch_size=4, augmentation=augmentation)
    lr_patch, hr_patch = seeded(prepare, {"image": lr_image, "label": hr_image})
    assert lr_patch.shape == (6, 1, *[4] * len(size))
    assert torch.equal(hr_patch, blocks_of(lr_patch, upscale))
    assert torch.equal(lr_patch.flatten(1).amin(dim=1) // lr_image[0].numel(), torch.arange(6.0))  # of its own image


def test_an_interpolating_augmentation_sees_pairs_alike():
    smooth = F.interpolate(images(4, 4, 4), size=(64, 64), mode="bicubic")
    pair = {"image": Downscale(2)(smooth, torch.Generator()), "label": smooth}
    lr_image, label = seeded(PrepareSuperResolution(2, augmentation=RandomView(1.0)), pair)
    assert (label - smooth).abs().max() > 0.3
    inside = (..., slice(12, -12), slice(12, -12))
    difference = (Downscale(2)(label, torch.Generator()) - lr_image)[inside]
    assert float(difference.abs().median()) < 0.005


def test_every_place_occurs():
    lr_image, hr_image = numbered_pairs(2, 5, 6, batch=1)
    batch = {"image": lr_image.expand(400, -1, -1, -1), "label": hr_image.expand(400, -1, -1, -1)}
    corners = seeded(PrepareSuperResolution(2, patch_size=3), batch)[0][:, 0, 0, 0]
    assert sorted(set(corners.tolist())) == [6.0 * row + column for row in range(3) for column in range(4)]
    whole = seeded(PrepareSuperResolution(2, patch_size=5), batch)[0]
    assert set(whole[:, 0, 0, 0].tolist()) == {0.0, 1.0}


def test_training_follows_from_torchs_random_state():
    prepare = PrepareSuperResolution(4, degradation("blind", 4), patch_size=6, augmentation=RandomFlips())
    drawn = [seeded(prepare, from_files(*"abc"), seed) for seed in (1, 1, 2)]
    for first, again, other in zip(*drawn, strict=True):
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_without_a_patch_size_images_stay_whole():
    lr_image, label = seeded(PrepareSuperResolution(4, BICUBIC), {"label": images(2, 50, 67)})
    assert torch.equal(label, images(2, 50, 67)[..., :48, :64])
    assert torch.equal(lr_image, BICUBIC(label, torch.Generator()))


# -- evaluation ----------------------------------------------------------------------------------------------


def test_evaluation_takes_whole_blocks_of_whole_images():
    image = images(2, 50, 67)
    lr_image, label = PrepareSuperResolution(4, BICUBIC, by_file=True)(from_files("a", "b", image=image), CPU)
    assert torch.equal(label, image[..., :48, :64])
    torch.testing.assert_close(lr_image, BICUBIC(label, torch.Generator()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["mr", "ct", "blind"])
def test_a_slices_degradation_follows_from_its_file_and_number(name):
    prepare = PrepareSuperResolution(4, degradation(name, 4), by_file=True)
    same = images(1).expand(3, -1, -1, -1)
    names = ("x/a.h5", "x/a.h5", "x/b.h5")
    lr_image, _ = prepare(from_files(*names, image=same), CPU)
    torch.manual_seed(99)
    reverse = from_files(*(f"y/{name[2:]}" for name in names[::-1]), image=same, slice=torch.tensor([2, 1, 0]))
    assert torch.equal(lr_image.flip(0), prepare(reverse, CPU)[0])
    alone = {"label": same[:1], "path": ["b.h5"], "slice": [2]}
    assert torch.equal(lr_image[2:], prepare(alone, CPU)[0])
    assert not torch.equal(lr_image[0], lr_image[1])
    assert not torch.equal(lr_image[0], lr_image[2])
    volume = {"image": images(1, 16, 16, 16), "path": ["a.nii"]}
    assert torch.equal(prepare(volume, CPU)[0], prepare(volume, CPU)[0])


def test_pairs_pass_as_they_are():
    lr_image, hr_image = numbered_pairs(4, 5, 6)
    prepare = PrepareSuperResolution(4, BICUBIC, by_file=True)
    passed, label = prepare({"image": lr_image, "label": hr_image}, CPU)
    assert torch.equal(passed, lr_image)
    assert torch.equal(label, hr_image)


def test_metadata_and_phase_stay_outside():
    image = MetaTensor(torch.complex(images(), images()), meta={"filename_or_obj": "a.nii"})
    for entries in ({"image": image}, {"image": image[..., :12, :16], "label": image}):
        prepared = seeded(PrepareSuperResolution(4, BICUBIC, patch_size=5, augmentation=RandomFlips()), entries)
        assert [type(result) for result in prepared] == [Tensor, Tensor]
        assert not any(result.is_complex() for result in prepared)
    _, label = PrepareSuperResolution(4, BICUBIC, by_file=True)(from_files(*"abc", image=image), CPU)
    torch.testing.assert_close(label, 2**0.5 * images())


# -- phases --------------------------------------------------------------------------------------------------


class PixelObjective:
    def generator_terms(self, batch, outputs, discriminator):
        return {"pixel": (outputs - batch["label"]).abs().mean()}


def phased_trainer(prepare, phases, **arguments):
    """Of one iteration an epoch, which keeps the sizes that the network was given in ``sizes``."""
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.PixelShuffle(2))
    trainer = GanTrainer(
        device="cpu",
        max_epochs=sum(phase.epochs for phase in phases),
        train_data_loader=[from_files("a.png", "b.png")],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        objective=PixelObjective(),
        weights={"pixel": 1.0},
        phases=phases,
        prepare_batch=prepare,
        **arguments,
    )
    sizes = []
    network.register_forward_hook(lambda _, inputs, output: sizes.append((*inputs[0].shape[2:], *output.shape[2:])))
    return trainer, sizes


PHASES = [Phase(name, 2 if name == "pixel" else 1, adversarial=False) for name in ("pixel", "larger", "last")]


def test_patches_grow_with_the_phases():
    prepare = PrepareSuperResolution(2, Downscale(2), patch_size={"pixel": 6, "larger": 12, "last": 24})
    trainer, sizes = phased_trainer(prepare, PHASES, train_handlers=[prepare])
    trainer.run()
    assert sizes == [(n, n, 2 * n, 2 * n) for n in (6, 6, 12, 24)]


def test_a_phase_without_patch_size_stops_before_training():
    prepare = PrepareSuperResolution(2, Downscale(2), patch_size={"pixel": 6, "large": 12})
    trainer, sizes = phased_trainer(prepare, PHASES, train_handlers=[prepare])
    with pytest.raises(ValueError, match=r"each phase of pixel, larger, last, got those of pixel, large; add"):
        trainer.run()
    assert not sizes


def test_sizes_by_phase_need_the_trainer():
    prepare = PrepareSuperResolution(2, Downscale(2), patch_size={"pixel": 6})
    with pytest.raises(ValueError, match="patch_size by phase"):
        prepare({"image": images()}, CPU)


# -- bad input -----------------------------------------------------------------------------------------------


def test_bad_files_are_named():
    large = PrepareSuperResolution(4, BICUBIC, patch_size=24)
    small = r"dir/a\.png: .* at least 96 pixels along each axis for patch_size 24 at upscale 4, got 48 x 64; lower"
    with pytest.raises(DataError, match=small):
        large(from_files("dir/a.png", "b.png"), CPU)
    lr_image, hr_image = numbered_pairs(4, 13, 16, batch=2)
    pair = from_files("dir/a.png", "b.png", image=lr_image, label=hr_image)
    with pytest.raises(DataError, match=r"dir/a\.png: .* at least 96 pixels .* got 52 x 64"):
        PrepareSuperResolution(4, patch_size=24)(pair, CPU)
    mismatch = r"dir/a\.png: .* of 1 x 26 x 32 .* low-resolution one of 1 x 13 x 16 at upscale 2, got 1 x 52 x 64"
    for by_file in (False, True):
        with pytest.raises(DataError, match=mismatch):
            PrepareSuperResolution(2, by_file=by_file)(pair, CPU)
    with pytest.raises(DataError, match=r"dir/a\.png: expected a high-resolution image of 3 x"):
        PrepareSuperResolution(4)({**pair, "image": lr_image.expand(-1, 3, -1, -1)}, CPU)
    with pytest.raises(DataError, match=r"a\.png: .* got one image; give a degradation"):
        PrepareSuperResolution(4)(from_files("a.png"), CPU)
    with pytest.raises(DataError, match=r"a\.png: expected at least 4 pixels along each axis, got 3 x 9"):
        PrepareSuperResolution(4, BICUBIC)(from_files("a.png", image=images(1, 3, 9)), CPU)
    with pytest.raises(ValueError, match="by_file expects the entry 'path'"):
        PrepareSuperResolution(4, BICUBIC, by_file=True)({"image": images()}, CPU)


def test_of_several_candidates_the_patch_with_most_in_it_is_taken():
    half_empty = torch.zeros(64, 1, 32, 64)
    half_empty[..., 32:] = images(64, 32, 32)

    def share_with_content(candidates):
        torch.manual_seed(0)
        prepare = PrepareSuperResolution(4, BICUBIC, patch_size=4, candidates=candidates)
        lr_image, hr_image = prepare({"image": half_empty, "path": ["a.png"] * 64}, CPU)
        assert lr_image.shape == (64, 1, 4, 4)
        assert hr_image.shape == (64, 1, 16, 16)
        return (hr_image.flatten(1).std(dim=1) > 0).float().mean().item()

    assert 0.5 < share_with_content(1) < 0.85
    assert share_with_content(4) > 0.97


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected a degradation of upscale=4, got one of 2"):
        PrepareSuperResolution(4, Downscale(2))
    with pytest.raises(ValueError, match=r"expected a degradation of upscale=2, got one of 1"):
        PrepareSuperResolution(2, GaussianNoise(0.1))
    with pytest.raises(ValueError, match="by_file evaluates whole images; leave out patch_size and augmentation"):
        PrepareSuperResolution(4, BICUBIC, patch_size=8, by_file=True)
    for wrong in ({"patch_size": 0}, {"patch_size": {"gan": 0}}, {"patch_size": {}}, {"margin": -1}, {"candidates": 0}):
        with pytest.raises(
            ValueError, match="expected patch_size and candidates of at least 1 and margin of at least 0"
        ):
            PrepareSuperResolution(4, BICUBIC, **wrong)
