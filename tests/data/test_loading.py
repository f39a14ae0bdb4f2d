"""In which order slices are read: resumable, shared out over processes, file by file."""

import pytest
import torch
from monai.data import Dataset

from common.data.loading import CaseBatchSampler, ResumableSampler, evaluation_loader, training_loader


@pytest.fixture
def as_process(monkeypatch):
    """Makes samplers believe to be one of several processes."""

    def pretend(rank, processes):
        monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
        monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)
        monkeypatch.setattr("torch.distributed.get_world_size", lambda: processes)

    return pretend


def slices_of(**n_slices):
    return [{"path": f"{name}.h5", "slice": index} for name, n in n_slices.items() for index in range(n)]


# ---------------------------------------------------------------------------------------------------- for training


def test_an_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = ResumableSampler([0] * 20, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    orders = [order(seed, epoch) for seed in (0, 10) for epoch in (1, 2)]
    assert all(sorted(one) == list(range(20)) for one in orders)
    assert len({tuple(one) for one in orders}) == 4
    torch.rand(3)
    assert order(0, 1) == orders[0]
    assert list(ResumableSampler([0] * 5, shuffle=False)) == [0, 1, 2, 3, 4]


def test_skip_leaves_out_the_beginning_of_the_next_pass_only():
    sampler = ResumableSampler([0] * 10, seed=3)
    whole = list(sampler)
    sampler.skip(4)
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole
    assert len(sampler) == 10


def test_an_epoch_may_go_through_the_data_several_times_each_in_another_order():
    sampler = ResumableSampler([0] * 10, seed=3, repeats=3)
    assert len(sampler) == 30
    sampler.set_epoch(1)
    order = list(sampler)
    passes = [tuple(order[i : i + 10]) for i in (0, 10, 20)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len(set(passes)) == 3
    sampler.skip(13)
    assert list(sampler) == order[13:]
    sampler.set_epoch(0)
    assert not set(passes) & {tuple(list(sampler)[i : i + 10]) for i in (0, 10, 20)}
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        ResumableSampler([0] * 10, repeats=0)


def test_processes_take_turns_in_one_permutation(as_process):
    whole = list(ResumableSampler([0] * 12, seed=3))
    for rank in range(3):
        as_process(rank, 3)
        sampler = ResumableSampler([0] * 12, seed=3)
        assert list(sampler) == whole[rank::3]
        sampler.skip(2)
        assert list(sampler) == whole[rank::3][2:]


@pytest.mark.parametrize("processes", [1, 2])
def test_batches_hold_slices_of_one_size(as_process, processes):
    sizes = [(8, 8)] * 7 + [(16, 8)] * 6 + [(4, 4)]
    seen = []
    for rank in range(processes):
        as_process(rank, processes)
        sampler = ResumableSampler(sizes, seed=1, batch_size=2)
        order = list(sampler)
        assert len(order) == len(sampler) == {1: 12, 2: 4}[processes]
        assert all(sizes[a] == sizes[b] for a, b in zip(order[::2], order[1::2], strict=True))
        seen += order
    assert len(set(seen)) == len(seen)
    data = Dataset([{"image": torch.zeros(1, *size), "height": size[0], "width": size[1]} for size in sizes])
    as_process(0, 1)
    shapes = [batch["image"].shape[2:] for batch in training_loader(data, 3)]
    assert sorted(map(tuple, shapes)) == [(8, 8)] * 2 + [(16, 8)] * 2


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_batches_are_full_and_can_be_entered_in_the_middle(num_workers):
    data = Dataset([{"image": torch.tensor([float(i)])} for i in range(11)])
    loader = training_loader(data, 2, num_workers=num_workers, seed=4)
    assert len(loader) == 5
    whole = [batch["image"].flatten().tolist() for batch in loader]
    assert [len(batch) for batch in whole] == [2] * 5
    loader.sampler.skip(3 * 2)
    assert [batch["image"].flatten().tolist() for batch in loader] == whole[3:]


def test_fewer_images_than_a_batch_are_refused(as_process):
    data = Dataset([{"image": torch.zeros(1)}] * 4)
    assert len(training_loader(data, 4)) == 1
    with pytest.raises(ValueError, match=r"batch_size=5 .* got 4 images"):
        training_loader(data, 5)
    as_process(0, 2)
    with pytest.raises(ValueError, match=r"batch_size=3 .* got 4 images"):
        training_loader(data, 3)


# -------------------------------------------------------------------------------------------------- for evaluation


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_batches_never_mix_files_and_each_slice_comes_once(as_process, batch_size, processes):
    slices = slices_of(a=5, b=1, c=4, d=2)
    seen, owners = [], {}
    for rank in range(processes):
        as_process(rank, processes)
        sampler = CaseBatchSampler(slices, batch_size)
        batches = list(sampler)
        assert len(sampler) == len(batches)
        for batch in batches:
            assert 1 <= len(batch) <= batch_size
            (file,) = {slices[index]["path"] for index in batch}
            assert owners.setdefault(file, rank) == rank  # a file's volume is put together in one process
        seen += [index for batch in batches for index in batch]
    assert sorted(seen) == list(range(12))
    assert len(owners) == 4


def test_evaluation_loader_gives_every_slice_in_order():
    data = Dataset([{**entry, "image": torch.zeros(1)} for entry in slices_of(a=3, b=2)])
    batches = [(batch["path"], batch["slice"].tolist()) for batch in evaluation_loader(data, batch_size=2)]
    assert batches == [(["a.h5"] * 2, [0, 1]), (["a.h5"], [2]), (["b.h5"] * 2, [0, 1])]


def test_bad_evaluations_are_refused(as_process):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        CaseBatchSampler(slices_of(a=2), 0)
    as_process(1, 2)
    with pytest.raises(ValueError, match="expected at least one file for each of 2 processes, got 1 files"):
        CaseBatchSampler(slices_of(a=2), 1)
