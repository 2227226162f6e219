"""45 models that people have, small and with random values: torchvision, timm, transformers.

Each is a function that gives the module, its arguments and its keywords. Nothing is downloaded.
"""

import contextlib
from functools import partial

import torch

for _name in ("nms", "qnms"):  # which torchvision defines where it is built for this PyTorch
    with contextlib.suppress(RuntimeError):
        torch.library.define(
            f"torchvision::{_name}",
            "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )


def image(*size):
    return torch.randn(size or (2, 3, 32, 32), dtype=torch.float64)


def tokens(count=8, below=32):
    return torch.randint(0, below, (2, count))


# -- torchvision ----------------------------------------------------------------------------------


def vision(name, size=(2, 3, 32, 32), **options):
    import torchvision

    model = getattr(torchvision.models, name)(weights=None, num_classes=7, **options)
    return model, (image(*size),), {}


def narrow(name, size, features):
    """A model whose classifier would be large: with a small one."""
    model, args, kwargs = vision(name, size)
    nn = torch.nn
    model.classifier = nn.Sequential(
        nn.Dropout(0.5), nn.Linear(features, 16), nn.ReLU(True), nn.Linear(16, 7)
    )
    return model, args, kwargs


def segmentation(name):
    import torchvision

    made = getattr(torchvision.models.segmentation, name)
    return made(weights=None, weights_backbone=None, num_classes=4), (image(),), {}


def video(name):
    import torchvision

    made = getattr(torchvision.models.video, name)
    return made(weights=None, num_classes=5), (image(2, 3, 4, 32, 32),), {}


def vit():
    from torchvision.models.vision_transformer import VisionTransformer

    return VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5), (image(),), {}


def swin(version):
    from torchvision.models import swin_transformer as swins

    second = {
        "block": swins.SwinTransformerBlockV2,
        "downsample_layer": swins.PatchMergingV2,
    }
    options = {} if version == 1 else second
    sizes = [2, 2], 12, [2, 2], [2, 4], [4, 4]
    model = swins.SwinTransformer(*sizes, num_classes=5, **options)
    return model, (image(2, 3, 28, 28),), {}


def maxvit():
    from torchvision.models.maxvit import MaxVit

    model = MaxVit((32, 32), 8, 4, [8, 16], [1, 1], 8, 0.0, num_classes=5)
    return model, (image(),), {}


def swin3d():
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    model = SwinTransformer3d([2, 4, 4], 12, [2, 2], [2, 4], [2, 4, 4], num_classes=5)
    return model, (image(2, 3, 4, 28, 28),), {}


def mvit():
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    blocks = [
        MSBlockConfig(1, 16, 16, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 4, 4]),
        MSBlockConfig(2, 16, 32, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 2, 2]),
    ]
    model = MViT((32, 32), 4, blocks, False, True, True, False, num_classes=5)
    return model, (image(2, 3, 4, 32, 32),), {}


TORCHVISION = {
    "alexnet": partial(narrow, "alexnet", (2, 3, 64, 64), 256 * 36),
    "vgg11_bn": partial(narrow, "vgg11_bn", (2, 3, 32, 32), 512 * 49),
    "resnet18": partial(vision, "resnet18"),
    "resnet50": partial(vision, "resnet50"),
    "resnext50": partial(vision, "resnext50_32x4d"),
    "densenet121": partial(vision, "densenet121"),
    "squeezenet": partial(vision, "squeezenet1_1", (2, 3, 64, 64)),
    "googlenet": partial(vision, "googlenet", (2, 3, 64, 64), aux_logits=False, init_weights=False),
    "inception_v3": partial(
        vision, "inception_v3", (2, 3, 96, 96), aux_logits=False, init_weights=False
    ),
    "mobilenet_v2": partial(vision, "mobilenet_v2"),
    "mobilenet_v3": partial(vision, "mobilenet_v3_small"),
    "mnasnet": partial(vision, "mnasnet0_5"),
    "shufflenet": partial(vision, "shufflenet_v2_x0_5"),
    "efficientnet": partial(vision, "efficientnet_b0"),
    "regnet": partial(vision, "regnet_y_400mf"),
    "convnext": partial(vision, "convnext_tiny"),
    "vit": vit,
    "swin": partial(swin, 1),
    "swin_v2": partial(swin, 2),
    "maxvit": maxvit,
    "fcn": partial(segmentation, "fcn_resnet50"),
    "deeplab": partial(segmentation, "deeplabv3_mobilenet_v3_large"),
    "r3d": partial(video, "r3d_18"),
    "swin3d": swin3d,
    "mvit": mvit,
}

# -- timm -----------------------------------------------------------------------------------------


def timm(name, size=(2, 3, 32, 32), **options):
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=5, **options)
    return model, (image(*size),), {}


SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
TIMM = {
    "deit": partial(timm, "deit_tiny_patch16_224", **SMALL),
    "beit": partial(timm, "beit_base_patch16_224", **SMALL),
    "eva02": partial(timm, "eva02_tiny_patch14_224", **SMALL),
    "cait": partial(timm, "cait_xxs24_224", **SMALL),
    "xcit": partial(timm, "xcit_nano_12_p16_224", **{**SMALL, "patch_size": 16}),
    "resnetv2": partial(timm, "resnetv2_50", layers=(1, 1), channels=(16, 32)),
    "ghostnet": partial(timm, "ghostnet_050"),
    "convnextv2": partial(timm, "convnextv2_atto", depths=(1,) * 4, dims=(8, 8, 16, 16)),
    "resmlp": partial(timm, "resmlp_12_224", img_size=32),
    "nfnet": partial(timm, "nf_resnet26"),
}

# -- transformers ---------------------------------------------------------------------------------


def transformer(model, config, inputs=None, **options):
    import transformers

    made = getattr(transformers, config)(**options)
    made.use_cache = False
    made._attn_implementation = "eager" if "Mamba" in model else "sdpa"
    if "Mixtral" in model:
        made._experts_implementation = "batched_mm"
    given = inputs() if inputs else {"input_ids": tokens()}
    return getattr(transformers, model)(made), (), given


WIDTHS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TEXT = {**WIDTHS, "vocab_size": 32, "max_position_embeddings": 16}
PICTURE = {**WIDTHS, "image_size": 32, "patch_size": 8}
BOTH = {
    "vocab_size": 32,
    "d_model": 16,
}


def pair():
    return {"input_ids": tokens(), "decoder_input_ids": tokens(5)}


TRANSFORMERS = {
    "bert": partial(transformer, "BertForSequenceClassification", "BertConfig", **TEXT),
    "roberta": partial(transformer, "RobertaForMaskedLM", "RobertaConfig", **TEXT),
    "gpt2": partial(
        *(transformer, "GPT2LMHeadModel", "GPT2Config"),
        vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=16,
    ),
    "llama": partial(
        transformer, "LlamaForCausalLM", "LlamaConfig", num_key_value_heads=1, **TEXT
    ),
    "t5": partial(
        *(transformer, "T5ForConditionalGeneration", "T5Config", pair),
        **BOTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
    ),
    "bart": partial(
        *(transformer, "BartModel", "BartConfig", pair),
        **BOTH, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        max_position_embeddings=16,
    ),
    "clip": partial(
        *(transformer, "CLIPVisionModel", "CLIPVisionConfig"),
        lambda: {"pixel_values": image()}, **PICTURE,
    ),
    "mamba": partial(
        *(transformer, "MambaForCausalLM", "MambaConfig"),
        vocab_size=32, hidden_size=16, num_hidden_layers=2, state_size=4,
    ),
    "mixtral": partial(
        *(transformer, "MixtralForCausalLM", "MixtralConfig"),
        num_key_value_heads=1, num_local_experts=3, **TEXT,
    ),
    "wav2vec2": partial(
        *(transformer, "Wav2Vec2Model", "Wav2Vec2Config"),
        lambda: {"input_values": torch.randn(2, 800, dtype=torch.float64)},
        **WIDTHS, conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 4),
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
    ),
}  # fmt: skip

MODELS = {**TORCHVISION, **TIMM, **TRANSFORMERS}
#: the package that each is of
PACKAGES = {
    **dict.fromkeys(TORCHVISION, "torchvision"),
    **dict.fromkeys(TIMM, "timm"),
    **dict.fromkeys(TRANSFORMERS, "transformers"),
}
