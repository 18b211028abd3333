"""The trainers: closed form, stage after stage, and back-propagation through time."""

from .boosted import BoostedTrees
from .bptt import BackpropThroughTime
from .callbacks import Callback, CSVLog, LightningLog, tensorboard, weights_and_biases
from .forests import LocalForests
from .losses import Loss, ProblemLoss
from .parallel import ParallelRidge
from .project_out import ProjectOut
from .ridge import SequentialRidge
from .schedules import Constant, Cosine, Linear, Schedule
from .search_ridge import SearchRidge
from .trainer import History, Trainer

__all__ = [
    "BackpropThroughTime",
    "BoostedTrees",
    "CSVLog",
    "Callback",
    "Constant",
    "Cosine",
    "History",
    "LightningLog",
    "Linear",
    "LocalForests",
    "Loss",
    "ParallelRidge",
    "ProblemLoss",
    "ProjectOut",
    "Schedule",
    "SearchRidge",
    "SequentialRidge",
    "Trainer",
    "tensorboard",
    "weights_and_biases",
]
