"""The loss of propagated labels against a plain loop over tokens, and which tokens count."""

import math

import pytest
import torch
import torch.nn.functional as F

from pe_dense.modeling.tracking import LabelPropagation, PropagationLoss

VOID = 255


def case(seed: int = 0, grid: tuple[int, int] = (7, 9)) -> list[torch.Tensor]:
    """Tokens of target and source, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [F.normalize(torch.randn(*grid, 6, generator=generator), dim=-1) for _ in range(2)]
    labels = [torch.randint(0, 4, grid, generator=generator) for _ in range(2)]
    for part in labels:
        part[part == 3] = VOID
    labels[0][0, 0] = 7  # an object that the source does not show
    return [*tokens, *labels]


def plain(
    target: torch.Tensor,
    source: torch.Tensor,
    truth: torch.Tensor,
    labels: torch.Tensor,
    settings: LabelPropagation,
    temperature: float,
) -> list[float]:
    """-log(share of the copied labels that are right) of each token that counts, row by row."""
    found = []
    height, width = truth.shape
    for y in range(height):
        for x in range(width):
            right = every = 0.0
            for v in range(height):
                for u in range(width):
                    square = max(abs(y - v), abs(x - u)) <= settings.radius
                    circle = (y - v) ** 2 + (x - u) ** 2 <= settings.radius**2
                    near = not settings.radius or (square if settings.neighborhood == "square" else circle)
                    if not near or labels[v, u] == VOID:
                        continue
                    weight = math.exp(float(target[y, x] @ source[v, u]) / temperature)
                    every += weight
                    right += weight * bool(labels[v, u] == truth[y, x])
            if truth[y, x] != VOID and right:
                found.append(-math.log(right / every))
    return found


def counting(loss: PropagationLoss, inputs: list[torch.Tensor], settings: LabelPropagation) -> torch.Tensor:
    """Losses of the tokens that count, by size: the loss goes tile by tile."""
    losses, counts = loss(*inputs, settings)
    assert losses.shape == counts.shape == inputs[2].flatten().shape
    assert not losses[~counts].any()
    return losses[counts].sort().values


@pytest.mark.parametrize(
    ("changes", "temperature"),
    [({"radius": 2}, 0.1), ({"radius": 3, "neighborhood": "circle", "tile": 4}, 0.5), ({"radius": 0, "tile": 3}, 0.05)],
)
def test_against_a_plain_loop(changes: dict[str, object], temperature: float) -> None:
    settings = LabelPropagation(**changes)  # type: ignore[arg-type]
    inputs = case()
    losses = counting(PropagationLoss(temperature), inputs, settings)
    expected = plain(*inputs, settings, temperature)
    assert 20 < len(expected) < 63  # some tokens are void, or alone
    torch.testing.assert_close(losses, torch.tensor(expected).sort().values, rtol=1e-4, atol=1e-5)


def test_the_tile_does_not_matter() -> None:
    values = [counting(PropagationLoss(), case(1), LabelPropagation(radius=3, tile=tile)) for tile in (1, 4, 100)]
    for other in values[1:]:
        torch.testing.assert_close(values[0], other)


def test_nothing_to_learn_from() -> None:
    target, source, truth, labels = case(2)
    for nothing in (torch.full_like(truth, VOID), torch.full_like(truth, 9)):
        losses, counts = PropagationLoss()(target.requires_grad_(), source, nothing, labels, LabelPropagation())
        assert not counts.any()
        losses.sum().backward()
        assert target.grad is not None
        assert (target.grad == 0).all()


def test_descent_makes_the_copy_right() -> None:
    _, _, truth, labels = case(3)
    tokens = [torch.nn.Parameter(torch.randn(7, 9, 6, generator=torch.Generator().manual_seed(i))) for i in range(2)]
    optimizer = torch.optim.Adam(tokens, lr=0.1)
    values = []
    for _ in range(60):
        target, source = (F.normalize(t, dim=-1) for t in tokens)
        loss = counting(PropagationLoss(), [target, source, truth, labels], LabelPropagation(radius=2)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.1 * values[0]


def test_temperature() -> None:
    with pytest.raises(ValueError, match="temperature must be positive, it is 0"):
        PropagationLoss(0)
    assert counting(PropagationLoss(1e-4), case(), LabelPropagation()).isfinite().all()
