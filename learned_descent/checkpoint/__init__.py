"""Trained models in one file: safetensors, with JSON that tells how to build the model again."""

from .model import load_model, load_weights, read_description, save_model

__all__ = ["load_model", "load_weights", "read_description", "save_model"]
