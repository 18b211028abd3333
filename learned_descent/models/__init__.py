"""The models: cascades without memory, and the recurrent mnemonic descent."""

from .cascade import Cascade
from .mnemonic import MnemonicDescent

__all__ = ["Cascade", "MnemonicDescent"]
