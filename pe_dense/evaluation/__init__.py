"""One evaluator per benchmark protocol."""

from pe_dense.evaluation.coco import evaluate_coco_results
from pe_dense.evaluation.coco_evaluator import CocoEvaluator
from pe_dense.evaluation.evaluator import Evaluator
from pe_dense.evaluation.scope import read_evaluated_images
from pe_dense.evaluation.table import format_results

__all__ = ["CocoEvaluator", "Evaluator", "evaluate_coco_results", "format_results", "read_evaluated_images"]
