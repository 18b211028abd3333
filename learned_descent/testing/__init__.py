"""The public contract: what every problem, observation and model has to keep."""

from .checks import check_model, check_observation, check_problem
from .contract import ContractError, Report

__all__ = ["ContractError", "Report", "check_model", "check_observation", "check_problem"]
