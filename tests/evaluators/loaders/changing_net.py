"""A network that depends on an imported number, a plain attribute and a buffer that is not saved."""

from __future__ import annotations

import json

from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.spec import ModelSpec

NET = """
import json, pathlib, torch
from torch import nn
from helper_of_identity import GAIN
CONFIG = {"input_size": (3, 8, 8), "crop_pct": 1.0, "mean": (0, 0, 0), "std": (1, 1, 1)}
class Net(nn.Module):
    def __init__(self, shift, temperature):
        super().__init__()
        self.centres = nn.Parameter(torch.arange(3).float() / 2)
        self.temperature = temperature
        self.register_buffer("shift", torch.tensor(shift), persistent=False)
    def forward(self, x):
        return -((x.mean((1, 2, 3))[:, None] * GAIN + self.shift - self.centres[None]) ** 2) * 40 / self.temperature
def net():
    chosen = json.loads((pathlib.Path(__file__).parent / "config.json").read_text())
    return Net(chosen["shift"], chosen["temperature"]), CONFIG
"""


def write(folder, gain=1.0, shift=0.0, temperature=1.0):
    (folder / "helper_of_identity.py").write_text(f"GAIN = {gain}\n")
    (folder / "config.json").write_text(json.dumps({"shift": shift, "temperature": temperature}))


def described(folder, name="net.py:net"):
    return describe(ModelSource.of(ModelSpec.parse(f"python:{folder}/{name}")).load())
