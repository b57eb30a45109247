"""LoRA: equal to a peer number by number, merged, kept in files that diffusers opens; the bound on any low rank."""

import copy
import warnings
from functools import cache

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dgm.adaptation.lora import (
    LoRA,
    add_lora,
    best_rank,
    best_rank_error,
    load_lora,
    lora_layers,
    lora_parameters,
    lora_state,
    low_rank_count,
    merge_lora,
    remove_lora,
    set_strength,
)

f64 = torch.float64
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
exactly = {"rtol": 0, "atol": 1e-12}


class Small(nn.Module):
    """Two convolutions, a normalisation with running means, two linear layers: 2 × 8 × 8 → 20."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(2, 18, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(18)
        self.deep = nn.Conv2d(18, 16, 3, padding="same", dilation=2, padding_mode="circular", bias=False)
        self.head = nn.Sequential(nn.Linear(16, 24), nn.SiLU(), nn.Linear(24, 20, bias=False))

    def forward(self, x):
        x = torch.tanh(self.norm(self.wide(x)))
        return self.head(torch.tanh(self.deep(x)).mean((2, 3)))


NAMES = ["wide", "deep", "head.0", "head.2"]


def shaken(model, by=0.3):
    """Random A and B: what starts at 0 hides every mistake."""
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter.add_(by * torch.randn_like(parameter))
    return model


def adapted(rank=3, alpha=None, dtype=f64):
    base = Small().to(dtype).eval()
    model = copy.deepcopy(base)
    assert add_lora(model, ["wide", "deep", "0", "head.2"], rank, alpha) == NAMES
    return base, shaken(model)


def tensors(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def images(n=5, dtype=f64):
    return torch.randn(n, 2, 8, 8, dtype=dtype)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(40)


# --- a peer ----------------------------------------------------------------------------------------------------


def peer(model, names, rank, alpha):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its dependencies say at import
        from peft import LoraConfig, get_peft_model
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(names)))


class Points(nn.Module):
    """What the peer adapts as we do (it leaves a convolution's dilation out)."""

    def __init__(self):
        super().__init__()
        self.picture = nn.Conv2d(3, 20, 3, stride=2, padding=1)
        self.first, self.second = nn.Linear(20, 32), nn.Linear(32, 16, bias=False)

    def forward(self, x):
        return self.second(torch.tanh(self.first(torch.tanh(self.picture(x)).mean((2, 3)))))


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1.0), (1, 8.0), (4, 4.0), (4, 1.0), (16, 16.0), (16, 8.0)])
def test_equal_to_the_peer_number_by_number(rank, alpha):
    """Outputs, gradients, ten steps of Adam, merged weights."""
    base = Points().to(f64)
    names = ("picture", "first", "second")
    ours = copy.deepcopy(base)
    add_lora(ours, names, rank, alpha)
    theirs = peer(copy.deepcopy(base), names, rank, alpha)
    pairs = [
        (layer.get_submodule(half), theirs.base_model.model.get_submodule(f"{name}.lora_{half}.default"))
        for name, layer in lora_layers(ours).items()
        for half in "AB"
    ]
    with torch.no_grad():
        for mine, other in pairs:
            mine.weight.copy_(other.weight)  # B = 0, A as the peer drew it
    trained = [p for p in theirs.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == sum(p.numel() for p in lora_parameters(ours))
    optimisers = [torch.optim.Adam(p, lr=0.05) for p in (lora_parameters(ours), trained)]
    for _ in range(10):
        x, target = torch.randn(6, 3, 8, 8, dtype=f64), torch.randn(6, 16, dtype=f64)
        answers = [model(x) for model in (ours, theirs)]
        torch.testing.assert_close(*answers, **exactly)
        for answer, optimiser in zip(answers, optimisers, strict=True):
            optimiser.zero_grad()
            (answer - target).square().mean().backward()
        for mine, other in pairs:
            torch.testing.assert_close(mine.weight.grad, other.weight.grad, **exactly)
        for optimiser in optimisers:
            optimiser.step()
    for mine, other in pairs:
        torch.testing.assert_close(mine.weight, other.weight, **exactly)
    x = torch.randn(6, 3, 8, 8, dtype=f64)
    assert (ours(x) - base(x)).abs().max() > 0.1
    merge_lora(ours)
    merged = theirs.merge_and_unload()
    for name in names:
        mine, other = ours.get_submodule(name).weight, merged.get_submodule(name).weight
        torch.testing.assert_close(mine, other, **exactly)
        assert (mine - base.get_submodule(name).weight).abs().max() > 0.01


@pytest.mark.parametrize("alpha", [2, 6.0])
def test_the_peer_s_file_is_opened(alpha):
    from peft import get_peft_model_state_dict

    base = Points().to(f64)
    theirs = peer(copy.deepcopy(base), ("first", "picture"), 2, alpha)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(4, 3, 8, 8, dtype=f64)
    ours = copy.deepcopy(base)
    state = get_peft_model_state_dict(theirs)
    assert load_lora(ours, state, alpha=alpha, prefix="base_model.model") == ["picture", "first"]
    torch.testing.assert_close(ours(x), theirs(x), **exactly)
    assert lora_layers(ours)["first"].alpha == alpha
    assert (ours(x) - base(x)).abs().max() > 0.01


# --- start and gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [nn.Linear(40, 30), nn.Conv2d(5, 30, 3)], ids=["linear", "convolution"])
def test_the_start(base):
    layer = LoRA(base, 25)
    x = torch.randn(2, 40) if isinstance(base, nn.Linear) else torch.randn(2, 5, 6, 6)
    assert torch.equal(layer(x), base(x))
    assert layer.scale == 1
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"A.weight", "B.weight"}
    assert layer.B.weight.count_nonzero() == 0
    A = layer.A.weight.flatten(1)
    bound = A.shape[1] ** -0.5
    assert A.abs().max() <= bound
    assert A.var().item() == pytest.approx(bound**2 / 3, rel=0.15)  # of a uniform law; 1,000 draws


def test_gradients_by_formula():
    """∂B = s Gᵀ x Aᵀ and ∂A = s Bᵀ Gᵀ x for rows of examples; at the start the second is 0 and the first is not."""
    layer = LoRA(nn.Linear(7, 5).to(f64), 3, alpha=2.0)
    x, G = torch.randn(4, 7, dtype=f64), torch.randn(4, 5, dtype=f64)
    A, B = layer.A.weight, layer.B.weight

    def gradients():
        return torch.autograd.grad((G * layer(x)).sum(), [A, B])

    at_A, at_B = gradients()
    assert at_A.count_nonzero() == 0
    torch.testing.assert_close(at_B, 2 / 3 * G.T @ x @ A.T, **exactly)
    assert at_B.abs().min() > 0
    shaken(layer)
    at_A, at_B = gradients()
    torch.testing.assert_close(at_A, 2 / 3 * B.T @ G.T @ x, **exactly)
    torch.testing.assert_close(at_B, 2 / 3 * G.T @ x @ A.T, **exactly)
    for matrix, gradient in ((A, at_A), (B, at_B)):  # and by differences: y is linear in each
        step = torch.zeros_like(matrix)
        step[1, 2] = 1.0
        with torch.no_grad():
            before = (G * layer(x)).sum()
            matrix += step
            after = (G * layer(x)).sum()
            matrix -= step
        torch.testing.assert_close(after - before, gradient[1, 2], **exactly)


def test_nothing_else_is_trained():
    base = Small().to(f64)
    model = copy.deepcopy(base).eval()
    names = add_lora(model, ["wide", "head.0"], 2)
    assert [p for p in model.parameters() if p.requires_grad] == lora_parameters(model)
    before = tensors(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model(images()).square().mean().backward()
        optimiser.step()
    own = {f"{name}.{half}.weight" for name in names for half in "AB"}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (name in own)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in own), name
    remove_lora(model)
    x = images()
    assert torch.equal(model(x), base.eval()(x))


# --- strength, merging, removing -------------------------------------------------------------------------------


@pytest.mark.parametrize(("rank", "alpha"), [(1, None), (3, 7.0), (16, 4.0)])
@pytest.mark.parametrize("strength", [1.0, 0.4, -1.5, 0.0])
def test_merged_is_the_same_function_of_plain_layers(rank, alpha, strength):
    base, model = adapted(rank, alpha)
    set_strength(model, strength)
    x = images()
    y = model(x)
    old = tensors(base)
    plain = copy.deepcopy(model)
    merge_lora(plain)
    torch.testing.assert_close(plain(x), y, **exactly)
    assert [type(m) for m in plain.modules()] == [type(m) for m in base.modules()]
    assert plain.state_dict().keys() == old.keys()
    assert not any(p.requires_grad for p in plain.parameters())
    for name, layer in lora_layers(model).items():
        scale = (alpha or rank) / rank
        A, B = layer.A.weight.flatten(1), layer.B.weight.flatten(1)
        product = sum(torch.outer(B[:, i], A[i]) for i in range(rank)).view_as(layer.base.weight)
        torch.testing.assert_close(layer.delta(), scale * product, **exactly)
        assert torch.linalg.matrix_rank(layer.delta().flatten(1)) == rank
        weight = plain.get_submodule(name).weight
        torch.testing.assert_close(weight, old[f"{name}.weight"] + strength * scale * product, **exactly)
        torch.testing.assert_close(layer.merged().weight, weight, **exactly)
        assert torch.equal(layer.base.weight, old[f"{name}.weight"])
    assert torch.equal(model(x), y)  # merging a copy, or a layer, leaves the adapted model as it was
    assert (strength == 0) == torch.equal(y, base(x))


def test_strength_zero_is_the_old_model_bit_for_bit():
    base, model = adapted(dtype=torch.float32)
    with torch.no_grad():
        lora_layers(model)["head.0"].A.weight[0] = torch.inf  # 0 · ∞ would be NaN
    x = images(dtype=torch.float32)
    set_strength(model, 0)
    assert torch.equal(model(x), base(x))
    remove_lora(model)
    assert torch.equal(model(x), base(x))
    assert all(torch.equal(value, base.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_answer_is_linear_in_the_strength_of_one_layer():
    layer = shaken(LoRA(nn.Linear(6, 4).to(f64), 2))
    x = torch.randn(3, 6, dtype=f64)
    at = {}
    for strength in (0.0, 0.5, 1.0, 3.0):
        layer.strength = strength
        at[strength] = layer(x)
    for strength, y in at.items():
        torch.testing.assert_close(y - at[0.0], strength * (at[1.0] - at[0.0]), **exactly)


def test_names_end_at_a_dot():
    model = nn.ModuleDict({"0": nn.Linear(3, 3), "10": nn.Linear(3, 3), "in": nn.Sequential(nn.Linear(3, 3))})
    assert add_lora(model, ["0"], 1) == ["0", "in.0"]
    assert isinstance(model["10"], nn.Linear)


def test_after_a_merge_a_model_can_be_adapted_again():
    _, model = adapted()
    merge_lora(model)
    x = images()
    y = model(x)
    add_lora(model, ["head.0"], 1)
    assert torch.equal(model(x), y)
    assert list(lora_layers(model)) == ["head.0"]


# --- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [None, 4.0])
def test_save_and_load(tmp_path, alpha):
    base, model = adapted(2, alpha, torch.float32)
    set_strength(model, 0.3)  # of the moment; not of the file
    save_file(lora_state(model), tmp_path / "lora.safetensors")
    set_strength(model, 1)
    state = load_file(tmp_path / "lora.safetensors")
    assert list(state)[:2] == ["unet.deep.lora_A.weight", "unet.deep.lora_B.weight"]  # the file sorts them
    x = images(dtype=torch.float32)
    fresh, kept = copy.deepcopy(base), copy.deepcopy(base)
    assert sorted(load_lora(fresh, state)) == sorted(NAMES)
    add_lora(kept, NAMES, 2, alpha)
    load_lora(kept, state)
    for other in (fresh, kept):  # α / r is 1 or 2: no digit is lost
        assert torch.equal(other(x), model(x))
        assert not torch.equal(other(x), base(x))
        assert [p for p in other.parameters() if p.requires_grad] == lora_parameters(other)
    for mine, other in zip(lora_parameters(model), lora_parameters(kept), strict=True):
        assert torch.equal(mine, other)
    halves = {name: value.half() for name, value in state.items()}
    load_lora(kept, halves)
    torch.testing.assert_close(kept(x), model(x), rtol=0, atol=0.02)
    assert all(p.dtype == torch.float32 for p in kept.parameters())
    assert state["unet.head.0.lora_A.weight"].data_ptr() != lora_layers(fresh)["head.0"].A.weight.data_ptr()


def test_ranks_may_differ_in_a_file():
    base, model = adapted(2)
    merge_lora(model)
    add_lora(model, ["head.0"], 2)
    one = lora_state(shaken(model), prefix="")
    other = Small().to(f64)
    add_lora(other, ["wide"], 5)
    state = one | lora_state(shaken(other), prefix="")
    load_lora(base, state, prefix="")
    assert {name: layer.rank for name, layer in lora_layers(base).items()} == {"wide": 5, "head.0": 2}
    torch.testing.assert_close(lora_layers(base)["wide"].delta(), lora_layers(other)["wide"].delta(), **exactly)


@cache
def unet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its dependencies say at import
        from diffusers import UNet2DConditionModel
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        norm_num_groups=4,
        attention_head_dim=2,
    ).eval()


@pytest.mark.parametrize("alpha", [None, 12.0])
@pytest.mark.parametrize("names", [ATTENTION, (*ATTENTION, "conv1", "ff.net.2")], ids=["attention", "more"])
def test_diffusers_opens_our_file_and_we_open_its(tmp_path, names, alpha):
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    model = copy.deepcopy(unet())
    found = add_lora(model, names, 4, alpha)
    assert len(found) == 4 * 8 if names == ATTENTION else len(found) > 4 * 8
    shaken(model, by=0.1)
    save_file(lora_state(model), tmp_path / "lora.safetensors")
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    pipe = StableDiffusionPipeline(
        None, None, None, copy.deepcopy(unet()), scheduler, None, None, requires_safety_checker=False
    )
    pipe.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    direct = copy.deepcopy(unet())
    direct.load_lora_adapter(lora_state(model), prefix="unet")
    inputs = torch.randn(2, 4, 8, 8), torch.tensor([3, 400]), torch.randn(2, 5, 12)
    with torch.no_grad():
        y, y_base = model(*inputs).sample, unet()(*inputs).sample
        assert (y - y_base).abs().max() > 0.01
        for other in (pipe.unet, direct):
            torch.testing.assert_close(other(*inputs).sample, y, rtol=0, atol=1e-5)
        direct.save_lora_adapter(tmp_path, adapter_name="default_0", weight_name="theirs.safetensors")
        back = copy.deepcopy(unet())
        assert sorted(load_lora(back, load_file(tmp_path / "theirs.safetensors"), prefix="")) == sorted(found)
        torch.testing.assert_close(back(*inputs).sample, y, rtol=0, atol=1e-5)


# --- bad input -------------------------------------------------------------------------------------------------


def test_layers_that_cannot_be():
    linear = nn.Linear(64, 16)
    with pytest.raises(
        ValueError, match=r"^rank: expected at most 16, the smaller side of 'mid.to_q' \(16 × 64\), came 32$"
    ):
        LoRA(linear, 32, name="mid.to_q")
    with pytest.raises(ValueError, match=r"'c' \(20 × 18\), came 19"):
        LoRA(nn.Conv2d(2, 20, 3), 19, name="c")
    for rank in (0, -1):
        with pytest.raises(ValueError, match=f"rank: expected at least 1, came {rank}"):
            LoRA(linear, rank)
    with pytest.raises(TypeError, match=r"rank: expected a whole number, came 1\.5"):
        LoRA(linear, 1.5)
    for alpha in (0, -2.0, float("nan")):
        with pytest.raises(ValueError, match=f"alpha: expected a finite number in .0.*came {alpha}"):
            LoRA(linear, 2, alpha)
    assert linear.weight.requires_grad  # a refused layer is not touched
    with pytest.raises(TypeError, match="mid: expected a plain layer, came one that has a LoRA already"):
        LoRA(LoRA(linear, 2), 2, name="mid")
    with pytest.raises(TypeError, match=r"expected nn\.Linear or nn\.Conv2d, came Embedding"):
        LoRA(nn.Embedding(3, 4), 1)
    with pytest.raises(TypeError, match="came NonDynamicallyQuantizableLinear"):  # its weight is read, not called
        LoRA(nn.MultiheadAttention(4, 2).out_proj, 1)
    with pytest.raises(ValueError, match="expected a convolution of one group, came 2"):
        LoRA(nn.Conv2d(4, 4, 3, groups=2), 1)


def test_models_that_cannot_be_adapted_stay_as_they_are():
    model = Small()
    keys = list(model.state_dict())
    for names, rank, alpha, kind, message in [
        (["head.1"], 2, None, ValueError, r"no layer of Small ends with 'head.1' \(did you mean 'head.2' or 'head.0'"),
        (["wide", "depe"], 2, None, ValueError, r"ends with 'depe' \(did you mean 'deep'"),
        (["ead.0"], 2, None, ValueError, "ends with 'ead.0'"),
        ([], 2, None, ValueError, "names: expected at least one, came none"),
        ("wide", 2, None, TypeError, r"names: expected several, such as \['wide'\], came the string 'wide'"),
        (["head.0", "wide"], 17, None, ValueError, r"at most 16, the smaller side of 'head.0' \(24 × 16\), came 17"),
        (["wide", "head.0"], 18, None, ValueError, r"at most 16, the smaller side of 'head.0'"),
        (["wide"], 0, None, ValueError, "rank: expected at least 1, came 0"),
        (["wide"], 2, -1, ValueError, "alpha: expected a finite number"),
    ]:
        with pytest.raises(kind, match=message):
            add_lora(model, names, rank, alpha)
    assert list(model.state_dict()) == keys
    assert all(p.requires_grad for p in model.parameters())
    add_lora(model, ["wide"], 2)
    for names in (["wide"], ["head.0"], ["base"]):
        with pytest.raises(ValueError, match="expected plain layers, came one with a LoRA at 'wide'; merge_lora"):
            add_lora(model, names, 2)


@pytest.mark.parametrize(
    "use", [lora_parameters, lora_state, merge_lora, remove_lora, lambda model: set_strength(model, 0.5)]
)
def test_a_model_without_lora(use):
    with pytest.raises(ValueError, match="model: expected LoRA layers, came Small with none; add_lora first"):
        use(Small())


def test_other_bad_calls():
    layer = LoRA(nn.Linear(3, 2), 1)
    for change in (merge_lora, remove_lora):
        with pytest.raises(ValueError, match="expected one that holds layers, came a layer"):
            change(layer)
    with pytest.raises(ValueError, match="strength: expected a finite number"):
        set_strength(layer, float("inf"))


def key(name, half="A"):
    return f"unet.{name}.lora_{half}.weight"


BAD_STATES = {
    "none": (lambda s: {}, "state: expected at least one layer, came none"),
    "another format": (
        lambda s: {"lora_unet_wide.lora_down.weight": s[key("wide")]},
        r"expected keys unet.<layer>.lora_A.weight and …_B.weight, came 'lora_unet_wide.lora_down.weight'",
    ),
    "another part": (
        lambda s: {k.replace("unet", "text_encoder"): v for k, v in s.items()},
        "expected keys unet.<layer>.*came 'text_encoder.wide.lora_A.weight'",
    ),
    "a bias": (lambda s: s | {"unet.wide.lora_B.bias": torch.zeros(18)}, "came 'unet.wide.lora_B.bias'"),
    "half a pair": (
        lambda s: {k: v for k, v in s.items() if k != key("deep", "B")},
        "came no unet.deep.lora_B.weight",
    ),
    "a layer that is not there": (
        lambda s: {k.replace("deep", "steep"): v for k, v in s.items()},
        "does not fit this Small: .*'steep' is no (adapted layer|Linear or Conv2d) of it .did you mean 'deep'",
    ),
    "another width": (
        lambda s: s | {key("head.0"): torch.zeros(3, 17), key("wide", "B"): torch.zeros(20, 3, 1, 1)},
        r"unet.wide.lora_B.weight is \(20, 3, 1, 1\), expected \(18, 3, 1, 1\); unet.head.0.lora_A.weight is \(3, 17\),"
        r" expected \(3, 16\)$",
    ),
    "another rank in B": (
        lambda s: s | {key("head.0", "B"): torch.zeros(24, 2)},
        r"unet.head.0.lora_B.weight is \(24, 2\), expected \(24, 3\)$",
    ),
    "all others": (
        lambda s: {f"unet.block.{i}.lora_{h}.weight": torch.zeros(3, 3) for i in range(5) for h in "AB"},
        "'block.0' is no .*'block.1' is no .*'block.2' is no .*; and [26] more$",
    ),
    "a linear layer's for a convolution": (
        lambda s: s | {key("wide"): torch.zeros(3, 18)},
        r"unet.wide.lora_A.weight is \(3, 18\), expected \(3, 2, 3, 3\)$",
    ),
    "a row": (
        lambda s: s | {key("wide"): torch.zeros(3)},
        r"wide.lora_A.weight: expected shape \(..., rows, columns\), came \(3,\)",
    ),
    "not finite": (
        lambda s: s | {key("wide"): torch.full((3, 2, 3, 3), torch.nan)},
        "wide.lora_A.weight: expected finite values, came NaN",
    ),
}


@pytest.mark.parametrize("there", [False, True], ids=["plain", "adapted"])
@pytest.mark.parametrize(("spoil", "message"), BAD_STATES.values(), ids=BAD_STATES.keys())
def test_states_of_another_model_change_nothing(spoil, message, there):
    base, model = adapted(dtype=torch.float32)
    state = spoil(lora_state(model))
    target = model if there else base
    before = tensors(target)
    with pytest.raises(ValueError, match=message):
        load_lora(target, state)
    assert target.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_states_that_do_not_fit_the_adapted_layers():
    base, model = adapted(3)
    state = lora_state(model)
    add_lora(base, ["wide", "head.0"], 2)
    with pytest.raises(ValueError, match="'deep' is no adapted layer of it"):
        load_lora(base, state)
    remove_lora(base)
    add_lora(base, NAMES, 2)
    with pytest.raises(ValueError, match=r"unet.wide.lora_A.weight is \(3, 2, 3, 3\), expected \(2, 2, 3, 3\)"):
        load_lora(base, state)
    some = {k: v for k, v in state.items() if "wide" not in k}
    with pytest.raises(ValueError, match="there is nothing for 'wide'"):
        load_lora(model, some)
    with pytest.raises(ValueError, match="alpha: expected a finite number"):
        load_lora(model, state, alpha=0)
    with pytest.raises(TypeError, match=r"unet.wide.lora_A.weight: expected a torch.Tensor, came list"):
        load_lora(model, state | {key("wide"): [1.0]})


def test_a_file_of_too_large_a_rank():
    model = Small()
    state = {key("head.0"): torch.zeros(17, 16), key("head.0", "B"): torch.zeros(24, 17)}
    with pytest.raises(
        ValueError, match=r"rank: expected at most 16, the smaller side of 'head.0' \(24 × 16\), came 17"
    ):
        load_lora(model, state)
    assert all(p.requires_grad for p in model.parameters())


# --- how good a low rank can be --------------------------------------------------------------------------------


def test_counts():
    assert nn.Linear(2000, 1000, bias=False, device="meta").weight.numel() == 2_000_000
    assert low_rank_count(1000, 2000, 2) == 6_000
    for rank in (1, 4, 16):
        layer = LoRA(nn.Linear(64, 32), rank)
        assert sum(p.numel() for p in lora_parameters(layer)) == low_rank_count(32, 64, rank)
    with pytest.raises(ValueError, match="rank: expected at most 3, the smaller side of 3 × 5, came 4"):
        low_rank_count(3, 5, 4)


def test_the_error_is_the_sum_of_the_other_squares():
    delta = torch.randn(9, 6, dtype=f64)
    eigenvalues = torch.linalg.eigvalsh(delta.T @ delta).flip(0)  # σ², without a decomposition of Δ itself
    for rank in range(1, 7):
        nearest = best_rank(delta, rank)
        assert torch.linalg.matrix_rank(nearest) == rank
        distance = (delta - nearest).square().sum()
        torch.testing.assert_close(distance, eigenvalues[rank:].sum(), **exactly)
        torch.testing.assert_close(best_rank_error(delta, rank), distance, **exactly)
    torch.testing.assert_close(best_rank(delta, 6), delta, **exactly)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_no_product_of_that_rank_comes_nearer(rank):
    """Neither at random, nor when random starts are led downhill; these come to the bound, so it is sharp."""
    delta = torch.randn(8, 6, dtype=f64)
    bound = best_rank_error(delta, rank)
    B, A = torch.randn(20_000, 8, rank, dtype=f64), torch.randn(20_000, rank, 6, dtype=f64)
    at_random = (delta - B @ A).square().sum((1, 2)).min()
    # each with the best A for its B: the projection of Δ on the columns of B
    Q = torch.linalg.qr(B).Q
    projected = (delta - Q @ (Q.mT @ delta)).square().sum((1, 2)).min()
    assert at_random > projected > bound
    near = best_rank(delta, rank)
    U, sigma, Vt = torch.linalg.svd(near)
    for size in (1e-1, 1e-2, 1e-3):  # nor close by
        left, right = (size * torch.randn(2_000, *m.shape, dtype=f64) for m in (U[:, :rank], Vt[:rank]))
        moved = (U[:, :rank] * sigma[:rank] + left) @ (Vt[:rank] + right)
        assert (delta - moved).square().sum((1, 2)).min() > bound
    B, A = (0.5 * torch.randn(8, *shape, dtype=f64) for shape in ((8, rank), (rank, 6)))  # eight starts
    B.requires_grad_()
    A.requires_grad_()
    optimiser = torch.optim.Adam([B, A], lr=0.03)
    for _ in range(1_500):
        optimiser.zero_grad()
        loss = (delta - B @ A).square().sum((1, 2))
        loss.sum().backward()
        optimiser.step()
    assert loss.min() >= bound - 1e-12
    assert loss.min() < bound + 1e-6


def test_matrices_that_cannot_be():
    with pytest.raises(ValueError, match=r"delta: expected shape \(rows, columns\), came \(2, 3, 4\)"):
        best_rank(torch.zeros(2, 3, 4), 1)
    with pytest.raises(ValueError, match="delta: expected finite values, came NaN"):
        best_rank(torch.full((2, 3), torch.nan), 1)
    for call in (best_rank, best_rank_error):
        with pytest.raises(ValueError, match="rank: expected at most 2, the smaller side of 2 × 3, came 3"):
            call(torch.zeros(2, 3), 3)
        with pytest.raises(ValueError, match="rank: expected at least 1, came 0"):
            call(torch.zeros(2, 3), 0)


# --- the study ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_hand_of_real_pictures_is_known():
    """What the study calls "by the new hand" names the artist of every real picture."""
    from dgm.data import toon_heads
    from dgm.recipes import lora, text_to_image

    system = text_to_image.load()
    assert lora.hand(system, toon_heads("test", lora.STYLE).images[:40]) == 1.0
    assert lora.hand(system, toon_heads("test").images[:40]) == 0.0
