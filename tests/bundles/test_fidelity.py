"""Transfer and added power of enlarged images, against images whose transfer and noise are known."""

import csv

import pytest
import torch
from scripts.fidelity import BANDS, FidelityTable, fidelity_protocol

SHAPE = (2, 96, 80)


def random_images(seed: int) -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_faded_image_has_its_factor_as_transfer_and_nothing_added() -> None:
    truth = random_images(0)
    values = fidelity_protocol(4, 0, 1, {}).evaluate(0.8 * truth + 0.1, truth)
    for band in BANDS:
        torch.testing.assert_close(values[f"transfer_{band}"], torch.full((2,), 0.8, dtype=torch.float64))
        assert (values[f"added_{band}"] < 1e-20).all()


def test_noise_is_added_power_and_leaves_the_transfer() -> None:
    truth, noise = random_images(0), random_images(1)
    noise = noise - noise.mean(dim=(1, 2), keepdim=True)
    values = fidelity_protocol(4, 0, 1, {}).evaluate(truth + 0.5 * noise, truth)
    for band in BANDS:  # spectra of both are flat, and those of noise and truth are independent
        torch.testing.assert_close(values[f"transfer_{band}"], torch.ones(2, dtype=torch.float64), atol=0.15, rtol=0)
        quarter = torch.full((2,), 0.25, dtype=torch.float64)
        torch.testing.assert_close(values[f"added_{band}"], quarter, atol=0.1, rtol=0)


@pytest.mark.parametrize("upscale", [2, 4])
def test_a_band_holds_the_frequencies_of_its_name(upscale: int) -> None:
    """Without the frequencies above the limit of the low-resolution image the higher bands are empty."""
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(80.0), indexing="ij")
    limit = 0.5 / upscale
    kept = torch.cos(2 * torch.pi * (0.6 * limit * rows + 0.3 * limit * columns))
    lost = torch.cos(2 * torch.pi * 1.5 * limit * columns)
    values = fidelity_protocol(upscale, 0, 1, {}).evaluate(kept[None].double(), (kept + lost)[None].double())
    assert values["transfer_low"].item() == pytest.approx(1, abs=1e-3)
    assert values["transfer_middle"].item() == pytest.approx(0, abs=1e-3)


def test_errors_are_in_stored_units_and_by_window() -> None:
    truth = torch.linspace(0, 1, SHAPE[1]).double()[None, :, None].expand(SHAPE)
    image = truth + 0.01 * (truth > 0.5)
    windows = {"soft": (-1000, 400), "dense": (600, 2000), "none": (5000, 6000)}
    values = fidelity_protocol(4, -1000, 2000, windows).evaluate(image, truth)
    torch.testing.assert_close(values["error"], torch.full((2,), 15.0, dtype=torch.float64))
    torch.testing.assert_close(values["error_soft"], torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(values["error_dense"], torch.full((2,), 30.0, dtype=torch.float64))
    assert values["error_none"].isnan().all()


def test_windows_need_the_stored_values_of_0_and_1(tmp_path) -> None:
    with pytest.raises(ValueError, match="intensity_range"):
        FidelityTable(tmp_path, 4, "auto", {"soft_tissue": (-160, 240)})


def test_the_table_has_a_row_for_each_method(tmp_path) -> None:
    table = FidelityTable(tmp_path, 4, [24, 3024], {"soft_tissue": (864, 1264)})
    assert [protocol.name for protocol in table.protocols] == ["fidelity_x4"]
    truth = random_images(0)[:1]
    where = {"path": "a.png", "slice": 0}
    table.collector.add(table.make(where, {"image": truth[:, ::4, ::4], "pred": truth, "label": truth}))
    table.collector.gather()
    table.collector.write(table.path)
    with table.path.open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"bicubic", "reconstruction"}
    assert float(rows["reconstruction"]["transfer_high"]) == pytest.approx(1)
    assert float(rows["reconstruction"]["error"]) == pytest.approx(0, abs=1e-3)
    assert float(rows["bicubic"]["transfer_high"]) < 0.5
