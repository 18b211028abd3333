"""Trained models in one file: safetensors, with JSON that tells how to build the model again."""

from .model import load_model, load_weights, save_model
from .stored import StoredModel, find_stored, read_description, read_stored

__all__ = [
    "StoredModel",
    "find_stored",
    "load_model",
    "load_weights",
    "read_description",
    "read_stored",
    "save_model",
]
