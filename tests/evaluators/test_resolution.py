"""Networks at other input sizes: convolutions, and transformers with resampled position embeddings."""

from __future__ import annotations

import pytest
import torch

from qubastore.errors import ResolutionError
from qubastore.evaluators.worker.resolution import at_resolution

CPU = torch.device("cpu")


def test_a_convolutional_network_takes_any_size():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    images = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(at_resolution(net, 48, name="net", device=CPU)(images), net(images), rtol=0, atol=0)


def test_timm_transformer_is_timms_own_at_that_size():
    """The same as building the architecture at that size and letting timm load the weights into it."""
    import timm
    from timm.models.vision_transformer import checkpoint_filter_fn

    torch.manual_seed(0)
    small = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5).eval()
    large = timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=5).eval()
    large.load_state_dict(checkpoint_filter_fn(small.state_dict(), large))
    images = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        want, before = large(images), small(images[..., :64, :64])
        got = at_resolution(small, 96, name="vit", device=CPU)(images)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
        # The model itself stays as it is.
        torch.testing.assert_close(small(images[..., :64, :64]), before, rtol=0, atol=0)


def test_torchvision_transformer_at_its_own_size_and_another():
    """At its own size the very network; at another, torchvision's own bicubic interpolation is near (no antialiasing
    there: enlarging needs none)."""
    from torchvision.models import VisionTransformer
    from torchvision.models.vision_transformer import interpolate_embeddings

    torch.manual_seed(0)
    made = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32, "num_classes": 5}
    small, large = VisionTransformer(image_size=32, **made).eval(), VisionTransformer(image_size=48, **made).eval()
    torch.nn.init.normal_(small.heads.head.weight)
    large.load_state_dict(
        interpolate_embeddings(
            48, 8, {k: v.clone() for k, v in small.state_dict().items()}, interpolation_mode="bicubic"
        )
    )
    images = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        same = at_resolution(small, 32, name="vit", device=CPU)(images[..., :32, :32])
        torch.testing.assert_close(same, small(images[..., :32, :32]), rtol=0, atol=0)
        got = at_resolution(small, 48, name="vit", device=CPU)(images)
        assert not torch.equal(got, torch.zeros_like(got))
        torch.testing.assert_close(got, large(images), rtol=0, atol=0.02)


def test_open_clip_transformer_at_another_size():
    """Against open_clip's own resizing of position embeddings."""
    from open_clip.transformer import VisionTransformer

    def made(size):
        return VisionTransformer(
            image_size=size, patch_size=8, width=32, layers=2, heads=2, mlp_ratio=2, output_dim=7
        ).eval()

    torch.manual_seed(0)
    small, large = made(32), made(48)
    state = small.state_dict()
    wrapped = torch.nn.Module()
    wrapped.visual = large
    from open_clip.model import resize_pos_embed

    state = {f"visual.{key}": value for key, value in state.items()}
    resize_pos_embed(state, wrapped)
    wrapped.load_state_dict(state)
    images = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        got = at_resolution(small, 48, name="clip", device=CPU)(images)
        torch.testing.assert_close(got, large(images), rtol=0, atol=1e-5)


def test_open_clip_with_a_trunk_of_timm_takes_other_sizes():
    """As convnext-clip of the second study is: its trunk takes any size, and so does a transformer's by itself."""
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    images = torch.rand(1, 3, 96, 96)
    for trunk, pool in (("convnext_atto", ""), ("vit_tiny_patch16_224", "avg")):
        net = TimmModel(trunk, embed_dim=8, image_size=64, pretrained=False, pool=pool, proj="linear").eval()
        with torch.inference_mode():
            assert at_resolution(net, 96, name=trunk, device=CPU)(images).shape[-1] == 8


@pytest.mark.parametrize(
    ("error", "is_noted"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), True),
        (AssertionError("Input height (24) doesn't match model (16)."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_what_the_machine_lacks_is_no_fact_about_the_network(error, is_noted):
    class Failing(torch.nn.Module):
        def forward(self, x):
            raise error

    with pytest.raises(ResolutionError if is_noted else RuntimeError) as caught:
        at_resolution(Failing(), 24, name="net", device=CPU)
    assert isinstance(caught.value, ResolutionError) == is_noted


def test_a_size_that_is_no_multiple_of_the_patch():
    from torchvision.models import VisionTransformer

    net = VisionTransformer(image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16).eval()
    with pytest.raises(ResolutionError, match=r"vit cannot take inputs of 36 x 36 pixels") as caught:
        at_resolution(net, 36, name="vit", device=CPU)
    assert "36 is not a multiple of the patch size 8" in str(caught.value)
