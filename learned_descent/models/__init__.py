"""The models: cascades without memory, and the recurrent mnemonic descent."""

from .cascade import Cascade
from .linear_stages import LinearStages
from .mnemonic import MnemonicDescent

__all__ = ["Cascade", "LinearStages", "MnemonicDescent"]
