import pytest

from pe_dense.evaluation import read_evaluated_images
from pe_dense.evaluation.scope import IMAGES_NAME, write_evaluated_images


def test_round_trip_beside_the_results(tmp_path):
    assert read_evaluated_images(tmp_path / "results.json") is None
    write_evaluated_images(tmp_path, [7, 3])
    assert read_evaluated_images(tmp_path / "results.json") == [7, 3]


def test_malformed_note(tmp_path):
    (tmp_path / IMAGES_NAME).write_text('{"a": 1}')
    with pytest.raises(ValueError, match="is not a list of image ids; delete it"):
        read_evaluated_images(tmp_path / "results.json")
