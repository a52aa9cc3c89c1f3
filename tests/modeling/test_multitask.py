"""Several tasks on one encoder equal the tasks alone."""

from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from multitask_cases import SIDE, make_encoder, make_model, make_sample, make_tasks, single_models
from torch import nn

from pe_dense.modeling.backbone import EncoderFeatures, EncoderShape, PerceptionEncoder
from pe_dense.modeling.multitask import MultiTaskModel
from pe_dense.modeling.segmentation import SegInference

MIXED = [("instances",), ("depth",), ("sem_seg", "depth"), ("instances", "depth", "sem_seg"), ("sem_seg",)]
KEY = {"detection": "instances", "depth": "depth", "sem_seg": "sem_seg"}


def mixed_batch() -> list[dict]:
    return [make_sample(i, *kinds) for i, kinds in enumerate(MIXED)]


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def runs_of(model: nn.Module) -> Callable[[], int]:
    """Counts the encoder's passes from here on."""
    encoder = next(m for m in model.modules() if isinstance(m, PerceptionEncoder))
    passes = []
    encoder.ln_pre.register_forward_hook(lambda *_: passes.append(1))
    return lambda: len(passes)


def test_losses_and_gradients_are_the_sum_of_the_single_models() -> None:
    """Each task on the samples with its labels, the encoder's gradient the weighted sum; the encoder runs once."""
    torch.manual_seed(0)
    weights = {"detection": 1.0, "depth": 0.5, "sem_seg": 2.0}
    model = make_model(loss_weights=weights).train()
    singles, batch, runs = single_models(model), mixed_batch(), runs_of(model)
    expected: dict[str, torch.Tensor] = {}
    torch.manual_seed(1)
    for name, single in singles.items():
        losses = single([s for s in batch if KEY[name] in s])
        expected.update({f"{name}.{key}": weights[name] * value for key, value in losses.items()})
        (weights[name] * torch.stack(list(losses.values())).sum()).backward()
    torch.manual_seed(1)
    losses = model(batch)
    torch.stack(list(losses.values())).sum().backward()
    assert runs() == 1
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-6, atol=1e-6)
    own = gradients(model)
    for name, single in singles.items():
        for key, value in gradients(single).items():
            if not key.startswith("backbone.backbone."):
                torch.testing.assert_close(own.pop(f"tasks.{name}.{key}"), value, rtol=1e-6, atol=1e-6)
    for key, value in own.items():
        together = sum(gradients(single).get(key, torch.zeros(())) for single in singles.values())
        torch.testing.assert_close(value, together, rtol=1e-5, atol=1e-6)


def test_predictions_are_those_of_the_single_models() -> None:
    torch.manual_seed(0)
    model = make_model().eval()
    singles, runs = single_models(model), runs_of(model)
    batch = [make_sample(0), {**make_sample(1), "height": 100, "width": 80}]
    with torch.no_grad():
        outputs = model(batch)
        alone = {name: single(batch) for name, single in singles.items()}
    assert runs() == 1
    for i, output in enumerate(outputs):
        assert output.keys() == {"instances", "depth", "sem_seg"}
        torch.testing.assert_close(output["depth"], alone["depth"][i]["depth"], rtol=1e-5, atol=1e-5)
        assert (output["sem_seg"] == alone["sem_seg"][i]["sem_seg"]).float().mean() > 0.999
        one, other = output["instances"], alone["detection"][i]["instances"]
        torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-4, atol=1e-5)
    assert outputs[1]["depth"].shape == outputs[1]["sem_seg"].shape == (100, 80)


@pytest.mark.parametrize("present", ["instances", "depth", "sem_seg"])
def test_every_parameter_has_a_gradient_whatever_the_labels(present: str) -> None:
    """Also of tasks that no sample is labelled for: zero, and their losses have their names."""
    model = make_model().train()
    losses = model([make_sample(i, present) for i in range(2)])
    assert losses.keys() == model(mixed_batch()).keys()
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    idle = [n for n in KEY if KEY[n] != present]
    assert all(losses[key] == 0 for key in losses if key.split(".")[0] in idle)
    for name in idle:
        assert all(p.grad is None or not p.grad.any() for p in model.tasks[name].parameters())


def test_processes_weigh_by_their_samples() -> None:
    """Of two processes, this one has 3 of the 4 samples with depth, and all of the 2 with objects."""
    model = make_model(loss_weights={"depth": 0.5}).train()

    def add_the_other(counts: torch.Tensor) -> None:
        counts += torch.tensor([0.0, 1.0, 2.0])

    with (
        patch("torch.distributed.is_initialized", return_value=True),
        patch("torch.distributed.get_world_size", return_value=2),
        patch("torch.distributed.all_reduce", add_the_other),
    ):
        factors = model._factors([2, 3, 0])
    assert [float(f) for f in factors] == [2.0, 0.5 * 2 * 3 / 4, 0.0]


def test_padding_suits_all_tasks() -> None:
    model = make_model()
    assert model.backbone.size_divisibility == 16  # of the pyramid; the other necks need 8
    assert model.preprocess([{"image": torch.zeros(3, 40, 50, dtype=torch.uint8)}]).tensor.shape[-2:] == (48, 64)
    encoder = make_encoder()
    tasks = make_tasks(EncoderShape.of(encoder))
    tasks["detection"].square_size = 96
    assert MultiTaskModel(encoder, tasks).square_size == 96


def test_what_trains() -> None:
    """What any neck needs; the encoder's frozen blocks are the model's own affair."""
    encoder = make_encoder()
    tasks = make_tasks(EncoderShape.of(encoder))
    del tasks["detection"]
    tasks["depth"].backbone = EncoderFeatures(EncoderShape.of(encoder), [0, 1])
    MultiTaskModel(encoder, tasks)
    assert [all(p.requires_grad for p in block.parameters()) for block in encoder.blocks] == [True, True, False]
    assert encoder.ln_post.weight.requires_grad  # segmentation takes it
    frozen = make_model(trainable_blocks=0)
    assert not any(p.requires_grad for p in frozen.backbone.parameters())
    assert frozen.num_classes == 3
    assert frozen.num_pixel_classes == 4


def test_the_encoder_is_saved_once() -> None:
    names = list(make_model().state_dict())
    assert sum(name.endswith("conv1.weight") for name in names) == 1
    assert {name.split(".")[0] for name in names} == {"backbone", "tasks"}


def test_tasks_that_cannot_share() -> None:
    encoder = make_encoder()
    shape = EncoderShape.of(encoder)

    def refused(message: str, change: Callable[[dict], object], **options: object) -> None:
        tasks = make_tasks(shape)
        change(tasks)
        with pytest.raises(ValueError, match=message):
            MultiTaskModel(encoder, tasks, **options)

    def depth_on(encoder: object, **options: object) -> Callable[[dict], None]:
        return lambda tasks: setattr(tasks["depth"], "backbone", EncoderFeatures(encoder, [0], **options))

    refused("tasks is empty", lambda tasks: tasks.clear())
    refused("task depth has an encoder of its own: build its neck on an EncoderShape", depth_on(make_encoder()))
    refused(
        r"task depth: its EncoderShape has .*'depth': 2.*, the encoder .*'depth': 3", depth_on(EncoderShape(32, 2, 8))
    )
    refused("trainable_blocks=0 of its neck.* multi-task model", depth_on(EncoderShape(32, 3, 8), trainable_blocks=0))
    refused("detection and again both learn from instances", lambda t: t.update(again=make_tasks(shape)["detection"]))
    refused(
        "detection and sem_seg see one image but differ in pixel_mean or pixel_std: .*give them the same",
        lambda tasks: setattr(tasks["sem_seg"], "pixel_mean", (127.0,) * 3),
    )
    refused("task depth would look at each image more", lambda tasks: setattr(tasks["depth"], "flip_test", True))
    windows = SegInference(crop=32)
    refused("task sem_seg would look at each", lambda tasks: setattr(tasks["sem_seg"], "inference", windows))
    refused("task 'dept'.*did you mean 'depth'", lambda _: None, loss_weights={"dept": 1.0})
    refused("depth has 0; give a positive number", lambda _: None, loss_weights={"depth": 0})


def test_a_sample_that_teaches_nothing() -> None:
    batch = [make_sample(0, "depth"), make_sample(1)]
    with pytest.raises(ValueError, match=r"^1\.png has none of the labels .*\(instances, depth, sem_seg\)"):
        make_model().train()(batch)
    assert batch[0]["image"].shape[-1] == SIDE
