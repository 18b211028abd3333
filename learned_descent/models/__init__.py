"""The models: cascades without memory, with a map a stage or a map a domain, the recurrent
mnemonic descent, attending tokens, a coarse-to-fine search, and a learned Levenberg-Marquardt.
"""

from .binary_features import LocalBinaryFeatures
from .cascade import Cascade
from .global_cascade import GlobalCascade
from .learned_lm import LearnedLevenbergMarquardt
from .linear_stages import LinearStages
from .mnemonic import LSTMState, MnemonicDescent
from .search import CoarseToFineSearch
from .tokens import Tokens

__all__ = [
    "Cascade",
    "CoarseToFineSearch",
    "GlobalCascade",
    "LSTMState",
    "LearnedLevenbergMarquardt",
    "LinearStages",
    "LocalBinaryFeatures",
    "MnemonicDescent",
    "Tokens",
]
