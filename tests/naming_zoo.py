"""Small polynomial models that are named as well-known ones are, and what shape of input each reads."""

import torch
from torch import nn

D, HEADS, POSITIONS = 8, 2, 5
FLAT, SEQUENCE, IMAGE = (D,), (POSITIONS, D), (1, 4, 4)


class Layers(nn.Module):
    """Modules under the names of others, and a forward that finds them under the names of its own."""

    def __init__(self, names, **parts):
        super().__init__()
        self.names = names
        for own, module in parts.items():
            *path, last = names[own].split(".")
            at = self
            for word in path:
                if not hasattr(at, word):
                    at.add_module(word, nn.Module())
                at = getattr(at, word)
            at.add_module(last, module)

    def part(self, own):
        return self.get_submodule(self.names[own])


class Gated(Layers):
    def __init__(self, left, right, out, bias=False):
        parts = {"left": (D, 12), "right": (D, 12), "out": (12, D)}
        super().__init__(
            {"left": left, "right": right, "out": out},
            **{name: nn.Linear(*size, bias=bias) for name, size in parts.items()},
        )

    def forward(self, x):
        return x + self.part("out")(self.part("left")(x) * self.part("right")(x))


class Fused(Layers):
    """Gate and value in one matrix, as in the GLU of timm."""

    def __init__(self, both, out):
        super().__init__({"both": both, "out": out}, both=nn.Linear(D, 24), out=nn.Linear(12, D))

    def forward(self, x):
        left, right = self.part("both")(x).chunk(2, -1)
        return x + self.part("out")(left * right)


class Square(Layers):
    def __init__(self, up, down):
        super().__init__({"up": up, "down": down}, up=nn.Linear(D, 12, bias=False), down=nn.Linear(12, D))

    def forward(self, x):
        return x + self.part("down")(self.part("up")(x) ** 2)


def heads(x):
    return x.unflatten(-1, (HEADS, -1)).transpose(-3, -2)


def attended(q, k, v):
    return ((heads(q) @ heads(k).mT).tril() @ heads(v)).transpose(-3, -2).flatten(-2)


class Attention(Layers):
    def __init__(self, query, key, value, out, bias=False):
        names = {"query": query, "key": key, "value": value, "out": out}
        super().__init__(names, **{name: nn.Linear(D, D, bias=bias) for name in names})

    def forward(self, x):
        return x + self.part("out")(
            attended(self.part("query")(x), self.part("key")(x), self.part("value")(x))
        )


class FusedAttention(Layers):
    def __init__(self, qkv, out, bias=False):
        super().__init__({"qkv": qkv, "out": out}, qkv=nn.Linear(D, 3 * D, bias=bias), out=nn.Linear(D, D))

    def forward(self, x):
        return x + self.part("out")(attended(*self.part("qkv")(x).chunk(3, -1)))


class Convolved(Layers):
    def __init__(self, conv, head):
        super().__init__(
            {"conv": conv, "head": head}, conv=nn.Conv2d(1, 2, 3, padding=1), head=nn.Linear(32, 3)
        )

    def forward(self, x):
        return self.part("head")(self.part("conv")(x).square().flatten(1))


class Stack(Layers):
    """Blocks at ``path.0``, ``path.1``, …, between an embedding and a head."""

    def __init__(self, path, blocks, embed, head):
        inner = {f"{path}.{k}": block for k, block in enumerate(blocks)}
        parts = {embed: nn.Linear(6, D, bias=False), **inner, head: nn.Linear(D, 4)}
        super().__init__({name: name for name in parts}, **parts)

    def forward(self, x):
        for name in self.names:
            x = self.part(name)(x)
        return x


class Both(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, module in parts.items():
            self.add_module(name, module)

    def forward(self, x):
        for module in self.children():
            x = module(x)
        return x


def llama(layers):
    block = lambda: Both(  # noqa: E731
        self_attn=Attention("q_proj", "k_proj", "v_proj", "o_proj"),
        mlp=Gated("gate_proj", "up_proj", "down_proj"),
    )
    return Stack("model.layers", [block() for _ in range(layers)], "model.embed_tokens", "lm_head")


def gpt2(layers):
    block = lambda: Both(attn=FusedAttention("c_attn", "c_proj"), mlp=Square("c_fc", "c_proj"))  # noqa: E731
    return Stack("transformer.h", [block() for _ in range(layers)], "transformer.wte", "lm_head")


def bert(layers):
    block = lambda: Both(  # noqa: E731
        attention=Attention("self.query", "self.key", "self.value", "output.dense"),
        ffn=Gated("intermediate.dense", "intermediate.gate_dense", "output.dense"),
    )
    return Stack("bert.encoder.layer", [block() for _ in range(layers)], "bert.embeddings", "cls.predictions")


def timm(layers):
    block = lambda: Both(attn=FusedAttention("qkv", "proj"), mlp=Fused("fc1", "fc2"))  # noqa: E731
    return Stack("blocks", [block() for _ in range(layers)], "patch_embed", "head")


MODELS = {  # a model, and the shape of one input
    "LLaMA": (lambda: llama(2), (POSITIONS, 6)),
    "GPT-2": (lambda: gpt2(2), (POSITIONS, 6)),
    "BERT": (lambda: bert(2), (POSITIONS, 6)),
    "timm": (lambda: timm(2), (POSITIONS, 6)),
    "LLaMA mlp": (lambda: Gated("gate_proj", "up_proj", "down_proj"), FLAT),
    "Mixtral": (lambda: Gated("w1", "w3", "w2"), FLAT),
    "T5": (lambda: Gated("DenseReluDense.wi_0", "DenseReluDense.wi_1", "DenseReluDense.wo"), FLAT),
    "GLU": (lambda: Fused("mlp.fc1_gate_and_value", "mlp.fc2"), FLAT),
    "GPT-NeoX": (lambda: Square("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), FLAT),
    "BLOOM": (lambda: FusedAttention("self_attention.query_key_value", "self_attention.dense", True), SEQUENCE),
    "OPT": (lambda: Attention("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"), SEQUENCE),
    "torch": (lambda: FusedAttention("self_attn.in_proj", "self_attn.out_proj"), SEQUENCE),
    "DETR": (lambda: Attention("cross_attn.to_q", "cross_attn.to_k", "cross_attn.to_v", "cross_attn.to_out.0"), SEQUENCE),
    "torchvision": (lambda: Convolved("features.conv1_1_bottleneck", "classifier"), IMAGE),
    "camels": (lambda: Gated("theLeftProjectionOfTheGate", "theRightProjectionOfTheGate", "theOutput"), FLAT),
    "numbers": (lambda: Gated("0", "1", "2", bias=True), FLAT),
    "letters": (lambda: Gated("D", "L", "R", bias=True), FLAT),
    "alike": (lambda: Gated("projection_a", "projection_b", "projection_c"), FLAT),
    "very long": (
        lambda: Gated("a" * 60, "the_gate_of_the_feed_forward_network_of_the_decoder", "b" * 40, bias=True),
        FLAT,
    ),
    "deep paths": (
        lambda: nn.Sequential(*[Gated("a.b.c.d.e.f.g.left", "a.b.c.d.e.f.g.right", "a.b.c.d.e.f.g.out") for _ in range(3)]),
        FLAT,
    ),
}  # fmt: skip


def build(name):
    """The model with small weights, and one input."""
    torch.manual_seed(0)
    make, shape = MODELS[name]
    model = make().double()
    for p in model.parameters():
        p.data.mul_(0.3)
    return model, torch.randn(1, *shape, dtype=torch.float64)
