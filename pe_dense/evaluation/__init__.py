"""One evaluator per benchmark protocol."""

from pe_dense.evaluation.classification_evaluator import ClassificationEvaluator
from pe_dense.evaluation.coco import evaluate_coco_results
from pe_dense.evaluation.coco_evaluator import CocoEvaluator
from pe_dense.evaluation.dense import DenseComparison, DenseEvaluator
from pe_dense.evaluation.dense_results import DenseResults, evaluate_dense_results, load_dense_evaluator
from pe_dense.evaluation.depth import depth_metrics
from pe_dense.evaluation.depth_evaluator import DepthEvaluator
from pe_dense.evaluation.evaluator import Evaluator
from pe_dense.evaluation.federated import is_lvis
from pe_dense.evaluation.layer_evaluator import LayerEvaluator
from pe_dense.evaluation.layer_scores import LayerScores
from pe_dense.evaluation.lvis import evaluate_lvis_results
from pe_dense.evaluation.lvis_evaluator import LvisEvaluator
from pe_dense.evaluation.mask_measures import contour_accuracy, region_similarity
from pe_dense.evaluation.mot_evaluator import MotEvaluator
from pe_dense.evaluation.multi_evaluator import MultiEvaluator
from pe_dense.evaluation.scope import read_evaluated_images
from pe_dense.evaluation.sem_seg_evaluator import SemSegEvaluator
from pe_dense.evaluation.table import format_results, is_per_class
from pe_dense.evaluation.vos_evaluator import VideoObjectEvaluator
from pe_dense.evaluation.vos_results import evaluate_vos_results
from pe_dense.evaluation.vos_scores import ObjectScores, sequence_statistics, vos_metrics, write_vos_tables

__all__ = [
    "ClassificationEvaluator",
    "CocoEvaluator",
    "DenseComparison",
    "DenseEvaluator",
    "DenseResults",
    "DepthEvaluator",
    "Evaluator",
    "LayerEvaluator",
    "LayerScores",
    "LvisEvaluator",
    "MotEvaluator",
    "MultiEvaluator",
    "ObjectScores",
    "SemSegEvaluator",
    "VideoObjectEvaluator",
    "contour_accuracy",
    "depth_metrics",
    "evaluate_coco_results",
    "evaluate_dense_results",
    "evaluate_lvis_results",
    "evaluate_vos_results",
    "format_results",
    "is_lvis",
    "is_per_class",
    "load_dense_evaluator",
    "read_evaluated_images",
    "region_similarity",
    "sequence_statistics",
    "vos_metrics",
    "write_vos_tables",
]
