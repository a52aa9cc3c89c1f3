"""A detector sharded block by block is the same detector."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from pe_dense.engine.initialization import initialize
from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection import build_cascade_mask_rcnn, build_mask_rcnn

from .helpers import make_sample


@pytest.fixture
def mesh():
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def detector(build, checkpoint_every):
    encoder = PerceptionEncoder(
        32, 3, 2, 64, grid_size=4, window_size=2, global_blocks=(1,), layer_scale=0.1, drop_path_rate=0.2,
        checkpoint_every=checkpoint_every,
    )  # fmt: skip
    return build(
        FeaturePyramid(encoder, out_channels=16), 3, square_size=64, conv_dim=16, fc_dim=32,
        rpn_batch_size_per_image=64, roi_batch_size_per_image=32, pre_nms_topk=(100, 60), post_nms_topk=(50, 30),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:DTensor random operators")
@pytest.mark.parametrize("build", [build_mask_rcnn, build_cascade_mask_rcnn])
def test_meta_device_sharding_and_activation_checkpointing(mesh, build):
    with torch.device("meta"):
        sharded = detector(build, checkpoint_every=1)
    for block in sharded.backbone.backbone.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    sharded.to_empty(device="cpu")
    initialize(sharded)
    plain = detector(build, checkpoint_every=0)
    plain.load_state_dict({key: value.full_tensor() for key, value in sharded.state_dict().items()})
    with_objects = [make_sample((64, 64), [[8, 8, 40, 48], [30, 20, 60, 60]], [1, 2]), make_sample((40, 64), [], [])]
    for samples in (with_objects, with_objects[1:] * 2):
        for model in (sharded, plain):
            torch.manual_seed(0)
            model.zero_grad()
            sum(model(samples).values()).backward()
        for (name, p), q in zip(plain.named_parameters(), sharded.parameters()):
            torch.testing.assert_close(q.grad.full_tensor(), p.grad, msg=name)
