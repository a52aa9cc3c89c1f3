"""One class per image: the linear and the nearest-neighbour protocol of looking into an encoder."""

from pe_dense.modeling.classification.build import build_linear_classifier
from pe_dense.modeling.classification.classifier import ImageClassifier
from pe_dense.modeling.classification.knn import KnnClassifier
from pe_dense.modeling.classification.pooling import Pooling, pooled

__all__ = ["ImageClassifier", "KnnClassifier", "Pooling", "build_linear_classifier", "pooled"]
