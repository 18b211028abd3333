"""The models: cascades without memory, with a map a stage or a map a domain, the recurrent
mnemonic descent, attending tokens, and a learned Levenberg-Marquardt.
"""

from .binary_features import LocalBinaryFeatures
from .cascade import Cascade
from .global_cascade import GlobalCascade
from .learned_lm import LearnedLevenbergMarquardt
from .linear_stages import LinearStages
from .mnemonic import MnemonicDescent
from .tokens import Tokens

__all__ = [
    "Cascade",
    "GlobalCascade",
    "LearnedLevenbergMarquardt",
    "LinearStages",
    "LocalBinaryFeatures",
    "MnemonicDescent",
    "Tokens",
]
