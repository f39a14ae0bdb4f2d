"""Which entries of a folder are images and volumes."""

from __future__ import annotations

from pathlib import Path

from common.data.files import MASK_ENDING, POINT_TO_DATA, data_folder, dicom_files, natural_key, split_suffix
from common.data.volumes.ome_zarr import is_zarr
from common.data.volumes.opening import SUFFIXES
from common.data.volumes.pictures import SUFFIXES as PICTURES


def find_images(dataset_dir: Path | str | None, split: str | None = None, hint: str = "") -> list[dict[str, str]]:
    """The data list of a folder of images and volumes, in natural order, for inference from file to file.

    - Each file of a suffix that :func:`~common.data.volumes.open_source` knows is one image or volume.
    - Each subfolder is one volume if it is a Zarr, holds DICOM files (one series), or pictures only (slices, PNG or
      TIFF). Other subfolders are passed over, such as one of outputs of :class:`~common.inferers.FileInferer`, and
      what is hidden, unfinished (``.partial``) or a mask (``*_mask.npy``).
    - A folder that holds DICOM files directly is itself one volume; so is a file or a Zarr given in place of a folder.

    Nothing is opened.

    Args:
        dataset_dir: the folder, or one file.
        split: a subfolder of it to look into, for example "test".
        hint: the way out, appended to errors.

    Returns:
        ``[{"path": ...}, ...]``.

    Raises:
        FileNotFoundError: the folder is missing or holds nothing of these.
    """
    hint = hint or POINT_TO_DATA
    folder = data_folder(dataset_dir, split, hint)
    if folder.is_file() or is_zarr(folder) or dicom_files(folder):
        return [{"path": str(folder)}]
    found = [path for path in folder.iterdir() if (_is_volume_folder if path.is_dir() else _is_image_file)(path)]
    if not found:
        raise FileNotFoundError(
            f"dataset_dir: no image or volume ({', '.join(SUFFIXES)}, DICOM, folders of slices) directly in {folder}; "
            f"{hint}"
        )
    return [{"path": str(path)} for path in sorted(found, key=natural_key)]


def _is_image_file(path: Path) -> bool:
    name = path.name.lower()
    return name[0] != "." and not name.endswith(MASK_ENDING) and bool(split_suffix(name, SUFFIXES)[1])


def _is_volume_folder(path: Path) -> bool:
    if path.name[0] == "." or ".partial" in path.name:
        return False
    if is_zarr(path):
        return True
    if any(path.joinpath(record.name.removesuffix(".json")).exists() for record in path.glob("*.json")):
        return False  # outputs of an earlier run, with what they were made of
    if dicom_files(path):
        return True
    names = [entry.name for entry in path.iterdir() if entry.name[0] != "." and entry.is_file()]
    return bool(names) and all(split_suffix(name)[1].lower() in PICTURES for name in names)
