"""The trainers: closed form, stage after stage, and back-propagation through time."""

from .bptt import BackpropThroughTime
from .ridge import SequentialRidge
from .trainer import History, Trainer

__all__ = ["BackpropThroughTime", "History", "SequentialRidge", "Trainer"]
