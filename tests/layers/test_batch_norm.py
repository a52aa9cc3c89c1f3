"""Batch normalisation of one and of several processes."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from pe_dense.layers.batch_norm import BatchNorm

CHANNELS = 5


def data() -> torch.Tensor:
    # a mean far from zero: a difference of squares would lose it
    return torch.randn(6, CHANNELS, 3, 4, generator=torch.Generator().manual_seed(0)) + 30


def trained(norm: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, gradients and running statistics after one step with the loss mean(y^3 * position)."""
    x = x.clone().requires_grad_()
    y = norm(x)
    (y**3 * torch.linspace(-1, 2, y[0].numel()).view(y[0].shape)).sum().backward()
    return [t.detach() for t in (y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var)]


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    part = data()[:4] if rank == 0 else data()[4:]  # not equally many
    torch.save({kind: trained(BatchNorm(CHANNELS, kind), part) for kind in ("bn", "sync_bn")}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[torch.Tensor]]]:
    """Of both processes, by kind."""
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(worker, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_alone_it_is_the_usual_one() -> None:
    for kind in ("bn", "sync_bn"):
        for ours, usual in zip(trained(BatchNorm(CHANNELS, kind), data()), trained(nn.BatchNorm2d(CHANNELS), data())):
            assert torch.equal(ours, usual)
    assert set(BatchNorm(CHANNELS).state_dict()) == set(nn.BatchNorm2d(CHANNELS).state_dict())


def test_two_processes_normalise_like_one_with_both_batches(results) -> None:
    first, second = (r["sync_bn"] for r in results)
    y, dx, dw, db, mean, var = trained(nn.BatchNorm2d(CHANNELS), data())
    close = {"rtol": 3e-4, "atol": 3e-4}
    torch.testing.assert_close(torch.cat([first[0], second[0]]), y, **close)
    torch.testing.assert_close(torch.cat([first[1], second[1]]), dx, **close)
    torch.testing.assert_close(first[2] + second[2], dw, **close)
    torch.testing.assert_close(first[3] + second[3], db, **close)
    for own, other, expected in zip(first[4:6], second[4:6], (mean, var)):
        assert torch.equal(own, other)
        torch.testing.assert_close(own, expected, **close)


def test_own_batches_but_common_running_statistics(results) -> None:
    first, second = (r["bn"] for r in results)
    for own, part in zip((first, second), (data()[:4], data()[4:])):
        for ours, alone in zip(own[:4], trained(nn.BatchNorm2d(CHANNELS), part)):
            torch.testing.assert_close(ours, alone)
    for own, other, synced in zip(first[4:], second[4:], results[0]["sync_bn"][4:]):
        assert torch.equal(own, other)
        assert torch.equal(own, synced)


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="norm 'batch' is unknown"):
        BatchNorm(3, "batch")
