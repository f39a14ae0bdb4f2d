"""`python -m tools data`: synthetic data sets, and what the readers find in a folder."""

from __future__ import annotations

from common.phantoms.sets import SETS, make_set
from tools.command import command
from tools.data_check import check


@command
def make(name: str, directory: str, seed: int = 0, workers: int = 0, **options: int | str) -> str:
    """Write a synthetic data set (random phantoms, no measured data) into DIRECTORY/train, /valid and /test.

    A set that is there already is kept; a folder that holds anything else is refused. Each set has the options
    --n_train, --n_valid, --n_test (numbers of files; of each class for textures) and --size (pixels per side); their
    defaults differ. The sets are

        brain_mri     heads, 8-bit PNG, for brain_mri_refinegan_reconstruction
        cardiac_cine  beating hearts, HDF5 series, for cardiac_cine_unet_reconstruction; --n_slices, --n_frames;
                      with --trajectory radial ISMRMRD scans of 13 golden-angle spokes a frame, 8 coils
        chest_ct      CT slices of chests, 16-bit PNG, -1000 to 1000 HU, for ct_mri_srgan_d_super_resolution
        knee_mri      scans of knees, k-space in fastMRI's HDF5 layout, for knee_mri_texture_gan_reconstruction;
                      --n_slices, --n_coils
        rock          sections of sandstone, 8-bit PNG, for micro_ct_srgan_super_resolution
        rock_3d       volumes of sandstone, 8-bit TIFF stacks, for micro_ct_srgan_super_resolution; with
                      --pores FILE.npz (solid_bits and shape of a segmented volume) both have measured pores
        textures      textures of sixteen classes, 8-bit PNG, a folder for each class, for texture networks

    Args:
        name: name of the set.
        directory: folder to make.
        seed: seed of the set; another one gives other content.
        workers: processes that draw; 0 draws in this one.
        options: options of the set, see above.
    """
    made = make_set(str(name), str(directory), seed=seed, workers=workers, **options)
    kind = SETS[name]
    values = {**kind.defaults, **options}
    total = len(kind.folders) * sum(int(values[key]) for key in ("n_train", "n_valid", "n_test"))
    if made:
        return f"made {total} synthetic {kind.unit}s in {directory}"
    return f"{directory} holds these {total} synthetic {kind.unit}s already"


COMMANDS = {"make": make, "check": check}
