"""The problems that come with the library."""

from .analytic import Analytic
from .pose import Pose

__all__ = ["Analytic", "Pose"]
