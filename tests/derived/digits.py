"""A small network whose features of scikit-learn's digits are probed."""

NET = '''
import torch
from torch import nn

CONFIG = {"input_size": (3, 8, 8), "crop_pct": 1.0, "interpolation": "nearest", "mean": (0, 0, 0), "std": (1, 1, 1)}


def pixels():
    """Features are 24 random mixtures of the 64 grey values; the two outputs mean nothing here."""
    torch.manual_seed(0)
    first = nn.Linear(192, 24)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(24, 2)), CONFIG
'''

MODEL = "python:net.py:pixels"
