"""Our models under detectron2's trainers and evaluators."""

import copy
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError)

import detectron2.data.transforms as T
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.evaluation import COCOEvaluator, inference_on_dataset

from pe_dense.config import instantiate, load_config
from pe_dense.data import CocoDataset, MappedDataset, build_test_loader
from pe_dense.data.scenes import write_scenes
from pe_dense.evaluation import CocoEvaluator
from pe_dense.interop.detectron2 import AdaptedModel, to_detectron2
from pe_dense.structures import Instances, RoiMasks

from .helpers import CLASSES, our_rcnn, samples

NAME = "interop_models"
DEMO = Path(__file__).resolve().parents[3] / "configs" / "demo" / "mask_rcnn_scenes.py"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), train=4, val=6, size=64, videos=0)


@pytest.fixture(autouse=True)
def _registered(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    register_coco_instances(NAME, {}, str(scenes.val_json), str(scenes.val_images))
    yield
    DatasetCatalog.pop(NAME)
    MetadataCatalog.pop(NAME)


@pytest.fixture
def cfg(scenes):
    small = ["embed_dim=32", "mlp_dim=32", "depth=1"]
    return load_config(
        DEMO,
        [
            f"data.root={scenes.root}", "dataloader.train.num_workers=0", "model.conv_dim=16", "model.fc_dim=32",
            "dataloader.train.transforms.1.size=64", *(f"model.backbone.backbone.{option}" for option in small),
        ],
    )  # fmt: skip


MASKS = {"image_format": "BGR", "use_instance_mask": True, "instance_mask_format": "bitmask"}


def train_loader(masks="bitmask"):
    options = MASKS | {"instance_mask_format": masks}
    mapper = DatasetMapper(True, augmentations=[T.RandomFlip(), T.ResizeShortestEdge(64, 80)], **options)
    records = DatasetCatalog.get(NAME)
    if masks == "polygon":  # which detectron2 does not make of run lengths
        for record in records:
            record["annotations"] = [a for a in record["annotations"] if isinstance(a["segmentation"], list)]
    return build_detection_train_loader(records, mapper=mapper, total_batch_size=2, num_workers=0)


def model_of(cfg):
    torch.manual_seed(0)
    return instantiate(cfg.model)


def gradient_step(model, optimizer, batch):
    optimizer.zero_grad()
    sum(model(batch).values()).backward()
    optimizer.step()


def test_their_trainer_on_our_loader_is_a_training_of_ours(cfg):
    ours, theirs = model_of(cfg), AdaptedModel(model_of(cfg), input_format="RGB")
    loader = instantiate(cfg.dataloader.train)
    recipe = instantiate(cfg.optimizer)
    trainer = SimpleTrainer(theirs, loader.iterate(), recipe(theirs))
    torch.manual_seed(1)
    trainer.train(0, 3)
    ours.train()
    optimizer = recipe(ours)
    torch.manual_seed(1)
    for batch in islice(loader.iterate(), 3):
        gradient_step(ours, optimizer, batch)
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name


@pytest.mark.parametrize("masks", ["polygon", "bitmask"])
def test_their_trainer_on_their_loader(cfg, masks):
    model = AdaptedModel(model_of(cfg))
    before = copy.deepcopy(model.state_dict())
    trainer = SimpleTrainer(model, train_loader(masks), instantiate(cfg.optimizer)(model))
    trainer.train(0, 2)
    assert set(trainer.storage.latest()) >= {"total_loss", "loss_rpn_cls", "loss_cls", "loss_box_reg", "loss_mask"}
    assert all(value == value for value, _ in trainer.storage.latest().values())
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert "backbone.backbone.conv1.weight" in moved
    assert len(moved) == len(before)


@pytest.mark.parametrize("task", ["depth", "sem_seg"])
def test_models_of_other_tasks_on_our_loaders(scenes, task):
    recipe = DEMO.parents[1] / "scenes" / f"{task}_small.py"
    cfg = load_config(recipe, [f"data.root={scenes.root}", "dataloader.train.num_workers=0"])
    cfg.dataloader.train.batch_size = 2
    model = AdaptedModel(instantiate(cfg.model), input_format="RGB")
    loader = instantiate(cfg.dataloader.train)
    trainer = SimpleTrainer(model, loader.iterate(), instantiate(cfg.optimizer)(model))
    trainer.train(0, 2)
    assert trainer.storage.latest()["total_loss"][0] > 0
    with torch.no_grad():
        prediction = model.eval()(next(loader.iterate())[:1])[0][task]
    assert prediction.shape == (64, 64)


def test_their_mixed_precision_trainer(cfg, monkeypatch):
    """Its own step; without a GPU the regions of mixed precision are the CPU's."""
    scaler = None
    model = model_of(cfg)
    if torch.cuda.is_available():
        model.cuda()
    else:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda.amp, "autocast", partial(torch.autocast, "cpu"))
        scaler = torch.amp.GradScaler("cpu")
    adapted = AdaptedModel(model)
    optimizer = torch.optim.SGD(adapted.parameters(), lr=1e-3)
    trainer = AMPTrainer(adapted, train_loader(), optimizer, grad_scaler=scaler, precision=torch.bfloat16)
    trainer.train(0, 2)
    assert trainer.storage.latest()["total_loss"][0] > 0


def test_what_the_model_sees(scenes):
    seen = []

    class Recorder(torch.nn.Module):
        def forward(self, batch):
            seen.extend(batch)
            return {"loss": torch.zeros(())}

    mapper = DatasetMapper(True, augmentations=[], **MASKS)
    records = DatasetCatalog.get(NAME)
    AdaptedModel(Recorder())([mapper(record) for record in records])
    ours = MappedDataset(CocoDataset(scenes.val_json, scenes.val_images))
    for sample, expected in zip(seen, (ours[i] for i in range(len(ours))), strict=True):
        assert torch.equal(sample["image"], expected["image"])
        a, b = sample["instances"], expected["instances"]
        assert torch.equal(a.classes, b.classes)
        assert torch.equal(a.masks, b.masks)
        torch.testing.assert_close(a.boxes, b.boxes, atol=1.01, rtol=0)  # ours are those of the visible mask


def test_images_whose_objects_are_gone_train(cfg):
    record = DatasetCatalog.get(NAME)[0] | {"annotations": []}
    mapper = DatasetMapper(True, augmentations=[], **MASKS)
    losses = AdaptedModel(model_of(cfg))([mapper(record)])
    assert losses["loss_mask"].item() == 0
    assert all(value.isfinite() for value in losses.values())


class Guesses(torch.nn.Module):
    """The ground truth, a little wrong, with scores that are not."""

    def __init__(self, dataset):
        super().__init__()
        self.truth = {int(i): dataset[n]["instances"] for n, i in enumerate(dataset.dataset.image_ids)}

    def forward(self, batch):
        return [{"instances": self.guess(sample)} for sample in batch]

    def guess(self, sample):
        truth = self.truth[sample["image_id"]]
        generator = torch.Generator().manual_seed(sample["image_id"])
        boxes = (truth.boxes + torch.randn(truth.boxes.shape, generator=generator)).clamp(0, 64)
        probs = torch.rand(len(truth), 28, 28, generator=generator).add(0.35)
        masks = RoiMasks(probs, boxes, truth.image_size)
        return Instances(truth.image_size, boxes, truth.classes, torch.rand(len(truth), generator=generator), masks)


def test_their_evaluator_finds_what_ours_finds(scenes, tmp_path):
    dataset = CocoDataset(scenes.val_json, scenes.val_images)
    guesses = Guesses(MappedDataset(dataset))
    mapper = DatasetMapper(False, augmentations=[T.ResizeShortestEdge(96, 96)], image_format="BGR")
    loader = build_detection_test_loader(DatasetCatalog.get(NAME), mapper=mapper, num_workers=0)
    theirs = inference_on_dataset(AdaptedModel(guesses), loader, COCOEvaluator(NAME, output_dir=str(tmp_path)))

    ours = CocoEvaluator(scenes.val_json)
    for batch in build_test_loader(dataset, [], num_workers=0):
        ours.process(batch, guesses(batch))
    numbers = ours.evaluate()
    for task in ("bbox", "segm"):
        for name in ("AP", "AP50", "AP75"):
            assert theirs[task][name] == pytest.approx(numbers[f"{task}/{name}"], abs=1e-6)
        assert 10 < theirs[task]["AP"] < 90


def test_a_whole_evaluation_of_a_detector(cfg, tmp_path):
    cfg.model.test_score_thresh = 0.0
    model = AdaptedModel(model_of(cfg))
    mapper = DatasetMapper(False, augmentations=[T.ResizeShortestEdge(64, 64)], image_format="BGR")
    loader = build_detection_test_loader(DatasetCatalog.get(NAME), mapper=mapper, num_workers=0)
    found = inference_on_dataset(model, loader, COCOEvaluator(NAME, output_dir=str(tmp_path)))
    assert sorted(found) == ["bbox", "segm"]
    assert model.training  # as it was before


def test_predictions_are_detectron2s():
    detector = our_rcnn()
    batch = samples()
    with torch.no_grad():
        expected = [to_detectron2(o["instances"]) for o in detector.eval()(batch)]
        bgr = [s | {"image": s["image"].flip(0)} for s in batch]
        found = [o["instances"] for o in AdaptedModel(detector).eval()(bgr)]
    for a, b in zip(found, expected):
        assert a.image_size == b.image_size
        assert torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
        assert torch.equal(a.pred_masks, b.pred_masks)
        assert len(a) > 0
        assert int(a.pred_classes.max()) < CLASSES


def test_checkpoints_are_the_models_own(tmp_path):
    torch.manual_seed(4)
    model, again = our_rcnn(), our_rcnn()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    adapted = AdaptedModel(model)
    assert adapted.state_dict().keys() == model.state_dict().keys()
    DetectionCheckpointer(adapted, str(tmp_path)).save("model_final")
    path = tmp_path / "model_final.pth"
    again.load_state_dict(torch.load(path)["model"])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    other = AdaptedModel(our_rcnn())
    DetectionCheckpointer(other).load(str(path))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))
    assert other.device == torch.device("cpu")


def test_channels_must_be_named():
    with pytest.raises(ValueError, match="input_format 'bgr': "):
        AdaptedModel(our_rcnn(), input_format="bgr")
