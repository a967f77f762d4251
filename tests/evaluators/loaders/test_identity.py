"""The identity of a model: everything that affects its outputs changes it, and nothing else does."""

from __future__ import annotations

import pytest

from qubastore.errors import ModelError
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.spec import ModelSpec
from tests.evaluators.loaders.changing_net import NET, described, write


@pytest.mark.parametrize("change", [{"gain": 0.2}, {"temperature": 10.0}, {"shift": 0.9}, {"temperature": 1.001}])
def test_what_decides_the_outputs_is_part_of_the_model(net, change):
    before = described(net)
    write(net, **change)
    after = described(net)
    assert after.weights_hash == before.weights_hash, "no tensor shows the change"
    assert after.fingerprint.agrees(before.fingerprint) is False
    assert after.model_id != before.model_id
    write(net)
    assert described(net).model_id == before.model_id


def test_what_decides_nothing_is_no_part_of_it(net):
    before = described(net)
    text = (net / "net.py").read_text()
    (net / "net.py").write_text("# a comment\n" + text + "\ndef another():\n    return net()\n")
    (net / "helper_of_identity.py").write_text("GAIN = 1.0\nOTHER = 2\n")
    assert described(net).model_id == before.model_id


def test_two_folders_with_helpers_of_one_name(net, tmp_path):
    """The second file imports what lies beside it, not what the first one imported under the same name."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "net.py").write_text(NET)
    write(other, gain=0.2)
    first, second, again = described(net), described(other), described(net)
    assert first.model_id == again.model_id != second.model_id


def test_a_byte_order_mark_is_no_part_of_a_file(net):
    before = described(net)
    (net / "net.py").write_bytes(b"\xef\xbb\xbf" + (net / "net.py").read_bytes())
    assert described(net).model_id == before.model_id


def test_a_factory_that_exits_is_an_error(tmp_path):
    (tmp_path / "exits.py").write_text("import sys\ndef net():\n    sys.exit('no weights here')\n")
    with pytest.raises(ModelError, match=r"net\(\) of .* failed"):
        ModelSource.of(ModelSpec.parse(f"python:{tmp_path}/exits.py:net")).load()


def test_a_preprocessing_function_is_part_of_the_function(tmp_path):
    """Its id is the user's word; what it does shows in the answers."""
    ids = set()
    for size in (8, 4):
        (tmp_path / "p.py").write_text(
            "import torch\nfrom torchvision.transforms.functional import pil_to_tensor\n"
            f"def prepare(image):\n    return pil_to_tensor(image.resize(({size}, {size})).resize((8, 8))) / 255\n"
            "prepare.id = 'mine'\n"
            "def net():\n    torch.manual_seed(0)\n"
            "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3)), prepare\n"
        )
        ids.add(described(tmp_path, "p.py:net").model_id)
    assert len(ids) == 2
