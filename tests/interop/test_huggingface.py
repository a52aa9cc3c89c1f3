"""Against the documented formats, and the real transformers and supervision where they are installed."""

import numpy as np
import pytest
import torch
from PIL import Image

from pe_dense.interop.huggingface import (
    from_huggingface,
    from_pipeline,
    from_segmentation,
    mask_extents,
    to_huggingface,
    to_pipeline,
    to_segmentation,
)
from pe_dense.structures import Instances, RoiMasks

from .cases import CATEGORIES, SIZE, same

ID2LABEL = {0: "N/A", 17: "cat", 18: "dog", 6: "red bus"}
LABEL2ID = {name: i for i, name in ID2LABEL.items()}


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="the package transformers is not installed")


def masks():
    found = torch.zeros(3, *SIZE, dtype=torch.bool)
    for i in range(3):
        found[i, 2 * i : 2 * i + 9, 8 * i : 8 * i + 7] = True
    return found


def objects(**fields):
    boxes = torch.tensor([[0.0, 0, 7, 9], [8, 2, 15, 11], [16, 4, 23, 13]])
    given = {"classes": torch.tensor([2, 0, 2]), "scores": torch.tensor([0.9, 0.5, 0.25])}
    return Instances(SIZE, boxes, **{**given, **fields})


def test_object_detection():
    result = to_huggingface(objects())
    assert list(result) == ["scores", "labels", "boxes"]
    assert result["labels"].tolist() == [2, 0, 2]
    same(from_huggingface(result, SIZE), objects())
    same(from_huggingface({key: value.tolist() for key, value in result.items()}, SIZE), objects())
    named = to_huggingface(objects(), CATEGORIES, LABEL2ID)
    assert named["labels"].tolist() == [6, 17, 6]
    same(from_huggingface(named, SIZE, CATEGORIES, ID2LABEL), objects())
    texts = {**result, "labels": ["red bus", "cat", "red bus"]}
    same(from_huggingface(texts, SIZE, CATEGORIES), objects())
    assert list(to_huggingface(objects(masks=masks()))) == list(result)
    for given in (masks(), masks()[:, None], masks().int() * 255):
        same(from_huggingface({**result, "masks": given}, SIZE), objects(masks=masks()))
    same(from_huggingface(to_huggingface(Instances.empty(SIZE)), SIZE), Instances.empty(SIZE))
    same(from_huggingface({"scores": [], "labels": [], "boxes": []}, SIZE, CATEGORIES), Instances.empty(SIZE))


def test_pipelines():
    found = to_pipeline(objects(), CATEGORIES)
    assert found[1] == {"score": 0.5, "label": "cat", "box": {"xmin": 8, "ymin": 2, "xmax": 15, "ymax": 11}}
    same(from_pipeline(found, CATEGORIES, SIZE), objects())
    found = to_pipeline(objects(masks=masks()), CATEGORIES)
    assert (found[0]["mask"].mode, found[0]["mask"].size, found[0]["mask"].getextrema()) == ("L", (30, 20), (0, 255))
    same(from_pipeline(found, CATEGORIES), objects(masks=masks()))
    without = [{key: value for key, value in row.items() if key != "box"} for row in found]
    same(from_pipeline(without, CATEGORIES), objects(masks=masks()))
    without[1]["score"] = None  # a semantic segmentation
    assert from_pipeline(without, CATEGORIES).scores is None
    same(from_pipeline([], CATEGORIES, SIZE), Instances.empty(SIZE))
    assert to_pipeline(Instances.empty(SIZE), CATEGORIES) == []


@pytest.mark.parametrize("binary_maps", [False, True])
def test_instance_segmentation(binary_maps):
    result = to_segmentation(objects(masks=masks()), binary_maps, CATEGORIES, LABEL2ID)
    assert result["segmentation"].shape == ((3, *SIZE) if binary_maps else SIZE)
    assert result["segments_info"][1] == {"id": 1, "label_id": 17, "score": 0.5}
    same(from_segmentation(result, None, CATEGORIES, ID2LABEL), objects(masks=masks()))
    none = to_segmentation(Instances(SIZE, *[v[:0] for v in objects(masks=masks())._rows().values()]), binary_maps)
    assert none["segments_info"] == []
    found = from_segmentation(none)
    assert (len(found), found.masks.shape) == (0, (0, *SIZE))


def test_overlapping_objects_lose_to_better_scores():
    full = masks()
    full[1] = full[0] | full[1]  # the worse one covers the better one
    full[2] = full[0]
    overlapping = objects(masks=full)
    found = from_segmentation(to_segmentation(overlapping))
    assert torch.equal(found.masks[0], full[0])
    assert torch.equal(found.masks[1], full[1] & ~full[0])
    assert len(found) == 2
    assert torch.equal(from_segmentation(to_segmentation(overlapping, binary_maps=True)).masks, full)


def test_small_masks_are_pasted():
    small = RoiMasks(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)), objects().boxes, SIZE)
    assert torch.equal(to_segmentation(objects(masks=small), True)["segmentation"] > 0, small.bitmasks())


def test_extents_of_masks():
    full = torch.zeros(3, *SIZE, dtype=torch.bool)
    full[0, 4:6, 7:10] = full[2] = True
    assert mask_extents(full).tolist() == [[7, 4, 10, 6], [0, 0, 0, 0], [0, 0, 30, 20]]


def test_run_length_encodings():
    info = [{"id": i, "label_id": 0, "score": 1.0} for i in range(2)]
    runs = [[1, 2, 31, 2], [600, 1]]  # along the rows, from 1
    for segmentation in (runs, [[3, 4], *runs]):  # without and with what belongs to none
        found = from_segmentation({"segmentation": segmentation, "segments_info": info}, SIZE)
        assert found.boxes.tolist() == [[0, 0, 2, 2], [29, 19, 30, 20]]
    with pytest.raises(ValueError, match="there are 1 run-length encodings, but 2 segments_info"):
        from_segmentation({"segmentation": runs[:1], "segments_info": info}, SIZE)
    with pytest.raises(ValueError, match="beyond the image of 20 x 30"):
        from_segmentation({"segmentation": [[1, 2], [600, 2]], "segments_info": info}, SIZE)
    assert len(from_segmentation({"segmentation": None, "segments_info": []}, SIZE)) == 0


def test_a_list_of_names_is_no_categories():
    names, result, full = ["cat", "dog", "red bus"], to_huggingface(objects()), objects(masks=masks())
    rows, segments = to_pipeline(objects(), CATEGORIES), to_segmentation(full)
    calls = [
        lambda: to_huggingface(objects(), names),
        lambda: to_huggingface(objects(), names, LABEL2ID),
        lambda: from_huggingface(result, SIZE, names),
        lambda: from_huggingface(result, SIZE, names, ID2LABEL | {2: "cat"}),
        lambda: to_pipeline(objects(), names),
        lambda: from_pipeline(rows, names, SIZE),
        lambda: to_segmentation(full, categories=names),
        lambda: from_segmentation(segments, categories=names),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"categories must be Categories, e\.g\. predictor\.categories .*not list"):
            call()


def test_wrong_input():
    result = to_huggingface(objects())
    with pytest.raises(ValueError, match="pass target_sizes"):
        from_huggingface({**result, "boxes": result["boxes"] / 30}, SIZE)
    with pytest.raises(ValueError, match=r"image_size is \(9, 9\), but the masks"):
        from_huggingface({**result, "masks": masks()}, (9, 9))
    with pytest.raises(ValueError, match="id2label needs the categories"):
        from_huggingface(result, SIZE, id2label=ID2LABEL)
    with pytest.raises(ValueError, match=r"no name for the labels \[2\]"):
        from_huggingface(result, SIZE, CATEGORIES, ID2LABEL)
    with pytest.raises(ValueError, match="no category is called 'N/A'"):
        from_huggingface({**result, "labels": [0, 17, 18]}, SIZE, CATEGORIES, ID2LABEL)
    with pytest.raises(ValueError, match="no class 9"):
        from_huggingface({**result, "labels": [0, 9, 1]}, SIZE, CATEGORIES)
    with pytest.raises(ValueError, match="the labels are names"):
        from_huggingface({**result, "labels": ["cat", "dog", "cat"]}, SIZE)
    with pytest.raises(ValueError, match="set classes and scores"):
        to_huggingface(objects(scores=None))
    with pytest.raises(ValueError, match="label2id has no label for red bus"):
        to_huggingface(objects(), CATEGORIES, {"cat": 0})
    with pytest.raises(ValueError, match="label2id needs the categories"):
        to_huggingface(objects(), label2id=LABEL2ID)
    with pytest.raises(ValueError, match="have no masks"):
        to_segmentation(objects())
    with pytest.raises(ValueError, match="image_size is needed"):
        from_pipeline([], CATEGORIES)
    with pytest.raises(ValueError, match="3 binary maps, but 1 segments_info"):
        from_segmentation({"segmentation": masks(), "segments_info": [{"id": 0, "label_id": 0, "score": 1.0}]})


def test_a_real_detector_and_its_pipeline(transformers):
    torch.manual_seed(0)
    config = transformers.YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[32, 48],
        num_detection_tokens=5, id2label={0: "dog", 1: "cat"}, label2id={"dog": 0, "cat": 1},
    )  # fmt: skip
    model = transformers.YolosForObjectDetection(config).eval()
    processor = transformers.YolosImageProcessor(size={"height": 32, "width": 48})
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    with torch.no_grad():
        outputs = model(**processor(image, return_tensors="pt"))
    [result] = processor.post_process_object_detection(outputs, 0.0, [SIZE])
    assert len(result["scores"]) == 5
    found = from_huggingface(result, SIZE, CATEGORIES, config.id2label)
    assert [CATEGORIES.names[i] for i in found.classes] == [config.id2label[i] for i in result["labels"].tolist()]
    back = to_huggingface(found, CATEGORIES, config.label2id)
    assert all(torch.equal(back[key], result[key]) for key in ("scores", "labels", "boxes"))
    pipeline = transformers.pipeline("object-detection", model=model, image_processor=processor, device="cpu")
    rows = pipeline(image, threshold=0.0)
    order = found.scores.argsort(descending=True)
    assert sorted(rows, key=lambda row: -row["score"]) == to_pipeline(found[order], CATEGORIES)
    assert from_pipeline(rows, CATEGORIES, SIZE).boxes.shape == (5, 4)
    [relative] = processor.post_process_object_detection(outputs, 0.0)
    with pytest.raises(ValueError, match="pass target_sizes"):
        from_huggingface(relative, SIZE)


@pytest.mark.parametrize("options", [{}, {"return_coco_annotation": True}, {"return_binary_maps": True}])
def test_real_instance_segmentation(transformers, options):
    logits = torch.full((1, 3, 3), -9.0)  # 3 queries, 2 classes and none
    logits[0, [0, 1, 2], [1, 0, 1]] = torch.tensor([9.0, 8, 7])  # which its segments are ordered by
    maps = torch.full((1, 3, 24, 24), -9.0)
    for query in range(3):
        maps[0, query, :, 8 * query : 8 * query + 6] = 9
    output = transformers.models.mask2former.modeling_mask2former.Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=logits, masks_queries_logits=maps
    )
    processor = transformers.Mask2FormerImageProcessor()
    [result] = processor.post_process_instance_segmentation(output, target_sizes=[(48, 48)], **options)
    found = from_segmentation(result, (48, 48))
    assert found.classes.tolist() == [1, 0, 1]
    assert found.boxes.tolist() == [[0, 0, 12, 48], [16, 0, 28, 48], [32, 0, 44, 48]]
    assert found.masks.sum((1, 2)).tolist() == [12 * 48] * 3
    if "return_binary_maps" in options:
        assert torch.equal(to_segmentation(found, True)["segmentation"] > 0, result["segmentation"] > 0)
    assert from_segmentation(to_segmentation(found)).masks.equal(found.masks)


def test_supervision_reads_it():
    sv = pytest.importorskip("supervision", reason="the package supervision is not installed")
    names = dict(enumerate(CATEGORIES.names))
    full = objects(masks=masks())
    for result in (to_huggingface(objects()), to_segmentation(full), to_segmentation(full, True)):
        read = sv.Detections.from_transformers(result, id2label=names)
        assert np.array_equal(read.class_id, [2, 0, 2])
        assert read.data["class_name"].tolist() == ["red bus", "cat", "red bus"]
        np.testing.assert_allclose(read.confidence, [0.9, 0.5, 0.25])
    assert np.array_equal(read.mask, masks().numpy())
    assert np.array_equal(sv.Detections.from_transformers(to_huggingface(objects())).xyxy, objects().boxes.numpy())
