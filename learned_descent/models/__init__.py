"""The models: cascades without memory, the recurrent mnemonic descent, and attending tokens."""

from .cascade import Cascade
from .linear_stages import LinearStages
from .mnemonic import MnemonicDescent
from .tokens import Tokens

__all__ = ["Cascade", "LinearStages", "MnemonicDescent", "Tokens"]
