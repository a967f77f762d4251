"""A network in onnxruntime, as a module of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from qubastore.errors import ModelError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxNetwork(torch.nn.Module):
    """A network in onnxruntime. It runs where its images are, in float32; images pass through the CPU.

    Args:
        path: The file.

    Attributes:
        input_shapes: The shape of each input; None where it is free.
        input_type: The type of the first input, as onnxruntime names it.
        n_outputs: Number of outputs.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = str(path)
        self._sessions: dict[str, Any] = {}
        session = self._session(torch.device("cpu"))
        self.input_shapes = [[s if isinstance(s, int) else None for s in each.shape] for each in session.get_inputs()]
        self.input_type = str(session.get_inputs()[0].type)
        self.n_outputs = len(session.get_outputs())
        self._name = session.get_inputs()[0].name
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, height, width) float32 normalised images -> (n, n_classes) float32."""
        session = self._session(images.device)
        (answers,) = session.run(None, {self._name: images.detach().cpu().numpy()})
        return torch.from_numpy(answers).to(images.device)

    def _session(self, device: torch.device) -> Any:
        kind, key = device.type, str(device)
        if key in self._sessions:
            return self._sessions[key]
        import onnxruntime

        provider = _PROVIDERS.get(kind)
        if provider not in onnxruntime.get_available_providers():
            raise ModelError(
                f"{self._path}: the onnxruntime here does not run on {kind}",
                found=", ".join(onnxruntime.get_available_providers()),
                hint="pip install onnxruntime-gpu" if kind == "cuda" else "--device cpu",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        # TF32 is off, as for torch here: float32 means float32.
        settings = {"device_id": device.index or 0, "use_tf32": 0} if kind == "cuda" else {}
        session = onnxruntime.InferenceSession(self._path, options, providers=[(provider, settings)])
        if session.get_providers()[0] != provider:
            raise ModelError(
                f"{self._path}: onnxruntime does not start on {kind}, and would run on the CPU without a word",
                found=", ".join(session.get_providers()),
                hint="install the CUDA and cuDNN that its release needs",
            )
        self._sessions[key] = session
        return session

    def __deepcopy__(self, _: Any) -> OnnxNetwork:
        # A session cannot be copied; a second one of the same file is the same network.
        return OnnxNetwork(Path(self._path))
