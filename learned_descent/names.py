"""The names of what is built in, and where each lies: nothing is imported before its name is asked
for.
"""

from __future__ import annotations

from collections.abc import Mapping

PROBLEMS: Mapping[str, str] = {
    "analytic": "learned_descent.problems.analytic:Analytic",
    "pose": "learned_descent.problems.pose:Pose",
    "faces": "learned_descent.faces.alignment:FaceAlignment",
    "synthetic-faces": "learned_descent.faces.synthetic:SyntheticFaces",
    "landmarks": "learned_descent.landmarks.labelled:LabelledLandmarks",
    "in-shape-model": "learned_descent.landmarks.shape_model:InShapeModel",
    "sinusoid": "learned_descent.problems.curves:Sinusoid",
    "exponentials": "learned_descent.problems.curves:TwoExponentials",
    "registration": "learned_descent.problems.registration.problem:Registration",
    "fixed-template": "learned_descent.problems.photometric.problems:FixedTemplate",
    "any-template": "learned_descent.problems.photometric.problems:AnyTemplate",
}
"""The built-in problems: the only ones that a weights file may name by itself."""

OBSERVATIONS: Mapping[str, str] = {
    "patches": "learned_descent.observations.patches:Patches",
    "dense-hog": "learned_descent.observations.descriptors:DenseHOG",
    "dense-sift": "learned_descent.observations.descriptors:DenseSIFT",
    "convolutional-patches": "learned_descent.observations.convolutional:ConvolutionalPatches",
    "convolutional-map": "learned_descent.observations.convolutional:ConvolutionalMap",
    "nearby-pixels": "learned_descent.observations.pixels:NearbyPixels",
    "pixel-pool": "learned_descent.observations.pixels:PixelPool",
}
"""The built-in image observations: the only ones that a weights file may name by itself."""

DETECTORS: Mapping[str, str] = {
    "picture": "learned_descent.landmarks.detector:WholePicture",
    "centerface": "learned_descent.faces.detectors:CenterFace",
    "lbp": "learned_descent.faces.detectors:LBPCascade",
}
"""The built-in detectors."""

MODELS: Mapping[str, str] = {
    "cascade": "learned_descent.models.cascade:Cascade",
    "global-cascade": "learned_descent.models.global_cascade:GlobalCascade",
    "mnemonic": "learned_descent.models.mnemonic:MnemonicDescent",
    "search": "learned_descent.models.search:CoarseToFineSearch",
    "tokens": "learned_descent.models.tokens:Tokens",
    "binary-features": "learned_descent.models.binary_features:LocalBinaryFeatures",
    "learned-lm": "learned_descent.models.learned_lm:LearnedLevenbergMarquardt",
}
"""The built-in models: the only ones that a weights file may name by itself."""
