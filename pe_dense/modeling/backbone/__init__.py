"""The Perception Encoder, its named sizes, its weights, and the feature pyramid on top of it."""

from pe_dense.modeling.backbone.builders import (
    SIZES,
    pe_core_b16_224,
    pe_core_g14_448,
    pe_core_l14_336,
    pe_core_s16_384,
    pe_core_t16_384,
    pe_lang_g14_448,
    pe_lang_g14_448_tiling,
    pe_lang_l14_448,
    pe_lang_l14_448_tiling,
    pe_spatial_b16_512,
    pe_spatial_g14_448,
    pe_spatial_l14_448,
    pe_spatial_s16_512,
    pe_spatial_t16_512,
)
from pe_dense.modeling.backbone.dense_model import DenseModel
from pe_dense.modeling.backbone.encoder_shape import EncoderShape
from pe_dense.modeling.backbone.feature_cache import FeatureCache
from pe_dense.modeling.backbone.features import EncoderFeatures, LayerFeatures
from pe_dense.modeling.backbone.layer_probe import LayerProbe
from pe_dense.modeling.backbone.pyramid import FeaturePyramid
from pe_dense.modeling.backbone.spatial_prior import SpatialPriorPyramid
from pe_dense.modeling.backbone.vit import PerceptionEncoder
from pe_dense.modeling.backbone.weights import WeightsError, load_encoder_weights

__all__ = [
    "SIZES",
    "DenseModel",
    "EncoderFeatures",
    "EncoderShape",
    "FeatureCache",
    "FeaturePyramid",
    "LayerFeatures",
    "LayerProbe",
    "PerceptionEncoder",
    "SpatialPriorPyramid",
    "WeightsError",
    "load_encoder_weights",
    "pe_core_b16_224",
    "pe_core_g14_448",
    "pe_core_l14_336",
    "pe_core_s16_384",
    "pe_core_t16_384",
    "pe_lang_g14_448",
    "pe_lang_g14_448_tiling",
    "pe_lang_l14_448",
    "pe_lang_l14_448_tiling",
    "pe_spatial_b16_512",
    "pe_spatial_g14_448",
    "pe_spatial_l14_448",
    "pe_spatial_s16_512",
    "pe_spatial_t16_512",
]
