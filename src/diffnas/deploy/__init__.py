"""Exporting a trained network: ONNX, torch.export, plain Python, weights with JSON, and the hub."""

from diffnas.deploy.check import Agreement, Disagreement
from diffnas.deploy.formats import FORMATS, Format, export

__all__ = ["FORMATS", "Agreement", "Disagreement", "Format", "export"]
