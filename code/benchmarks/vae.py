"""A digit VAE beside pythae's: the same layers, the same weights, the same data, one thread.

pythae takes networks that return what its models ask for; here they are made of our own layers, so that only the
libraries' own work differs: the objective, the draws, the training loop.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE as PythaeVAE
from pythae.models import VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.samplers import NormalSampler
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

from benchmarks.race import OURS, keep, machine, race, rounded, versions
from dgm.data import digits
from dgm.latent.vae import VAE, Bernoulli, ConvDecoder, ConvEncoder
from dgm.training import fit

LATENT, WIDTH, SHAPE = 16, 32, (1, 28, 28)
BATCH, LR = 125, 1e-3  # 28 whole batches an epoch


def split(encoder: nn.Module) -> tuple[nn.Sequential, nn.Linear]:
    """All layers but the last, and the last."""
    assert isinstance(encoder, nn.Sequential)
    head = encoder[-1]
    assert isinstance(head, nn.Linear)
    return nn.Sequential(*list(encoder)[:-1]), head


class Encoder(BaseEncoder):
    """`ConvEncoder` as pythae wants it: a head for the mean, another for the log-variance."""

    def __init__(self) -> None:
        BaseEncoder.__init__(self)
        self.body, head = split(ConvEncoder(2 * LATENT, WIDTH))
        self.mean, self.log_var = (nn.Linear(head.in_features, LATENT) for _ in range(2))

    def forward(self, x: Tensor) -> ModelOutput:
        """Mean and log-variance of q(z | x)."""
        h = self.body(x)
        return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    """`ConvDecoder` as pythae wants it: probabilities, not logits."""

    def __init__(self) -> None:
        BaseDecoder.__init__(self)
        self.body = ConvDecoder(LATENT, WIDTH)

    def forward(self, z: Tensor) -> ModelOutput:
        """The probability of ink in each pixel."""
        return ModelOutput(reconstruction=self.body(z).sigmoid())


def make_ours() -> VAE:
    """Our model."""
    return VAE(ConvEncoder(2 * LATENT, WIDTH), ConvDecoder(LATENT, WIDTH), Bernoulli(), shape=SHAPE, latent=LATENT)


def make_theirs() -> PythaeVAE:
    """pythae's model."""
    config = VAEConfig(input_dim=SHAPE, latent_dim=LATENT, reconstruction_loss="bce")
    return PythaeVAE(config, encoder=Encoder(), decoder=Decoder())


# --- the same weights must give the same bound -----------------------------------------------------------------


@torch.no_grad()
def to_theirs(ours: VAE, theirs: PythaeVAE) -> None:
    """Copy our weights; a log-variance is twice a log sd."""
    body, head = split(ours.encoder)
    theirs.encoder.body.load_state_dict(body.state_dict())
    theirs.decoder.body.load_state_dict(ours.decoder.state_dict())
    mean, log_sd = slice(LATENT), slice(LATENT, None)
    for layer, part, factor in ((theirs.encoder.mean, mean, 1), (theirs.encoder.log_var, log_sd, 2)):
        layer.weight.copy_(factor * head.weight[part])
        layer.bias.copy_(factor * head.bias[part])


@torch.no_grad()
def to_ours(theirs: PythaeVAE, ours: VAE) -> None:
    """Copy pythae's weights."""
    body, head = split(ours.encoder)
    body.load_state_dict(theirs.encoder.body.state_dict())
    ours.decoder.load_state_dict(theirs.decoder.body.state_dict())
    mean, log_var = theirs.encoder.mean, theirs.encoder.log_var
    head.weight.copy_(torch.cat([mean.weight, log_var.weight / 2]))
    head.bias.copy_(torch.cat([mean.bias, log_var.bias / 2]))


@torch.no_grad()
def difference(ours: VAE, theirs: PythaeVAE, x: Tensor) -> float:
    """The largest |Δ ELBO| over single pictures with the same noise, nats."""
    ours.eval()
    theirs.eval()
    found = []
    for seed, picture in enumerate(x.split(1)):
        torch.manual_seed(seed)
        bound = float(ours.elbo(picture))
        torch.manual_seed(seed)
        found.append(abs(bound + float(theirs({"data": picture}).loss)))
    return max(found)


def differences(images: Tensor) -> dict[str, float]:
    """With weights copied both ways, after some training (the starting weights make all bounds alike)."""
    test = digits("test", binary=True).images[:200]
    torch.manual_seed(0)
    ours, theirs = make_ours(), make_theirs()
    plain_epoch(ours, ours.loss, images)()
    to_theirs(ours, theirs)
    found = {"ours to pythae": difference(ours, theirs, test)}
    ours, theirs = make_ours(), make_theirs()
    plain_epoch(theirs, lambda x: theirs({"data": x}).loss, images)()
    to_ours(theirs, ours)
    return found | {"pythae to ours": difference(ours, theirs, test)}


# --- the race --------------------------------------------------------------------------------------------------


def plain_epoch(model: nn.Module, loss: Callable[[Tensor], Tensor], images: Tensor) -> Callable[[], object]:
    """One pass over the pictures in a loop that is the same for both."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def epoch() -> None:
        model.train()
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss(images[rows]).backward()
            optimizer.step()

    return epoch


def pythae_epoch(model: PythaeVAE, images: Tensor, folder: str) -> Callable[[], object]:
    """One epoch of pythae's own trainer."""
    config = BaseTrainerConfig(
        output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH, learning_rate=LR, no_cuda=True
    )
    trainer = BaseTrainer(model, BaseDataset(images, torch.zeros(len(images))), training_config=config)
    trainer.prepare_training()

    def epoch() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.train_step(1)

    return epoch


def times(images: Tensor) -> dict[str, dict[str, list[float]]]:
    """Seconds of each task."""
    torch.manual_seed(0)
    ours, theirs = make_ours(), make_theirs()
    to_theirs(ours, theirs)
    tasks = {}
    with tempfile.TemporaryDirectory() as folder:
        tasks["training epoch, the same loop"] = race(
            {
                OURS: plain_epoch(ours, ours.loss, images),
                "pythae": plain_epoch(theirs, lambda x: theirs({"data": x}).loss, images),
            },
            rounds=15,
        )
        tasks["training epoch, each library's own trainer"] = race(
            {
                OURS: lambda: fit(ours, images, steps=len(images) // BATCH, batch_size=BATCH, lr=LR, progress=False),
                "pythae": pythae_epoch(theirs, images, folder),
            },
            rounds=15,
        )
    ours.eval()
    theirs.eval()
    x, z = images[:1_000], torch.randn(1_000, LATENT)
    sampler = NormalSampler(theirs)
    with torch.no_grad():
        tasks["encode, 1,000 digits"] = race({OURS: lambda: ours.posterior(x), "pythae": lambda: theirs.encoder(x)})
        tasks["decode, 1,000 codes"] = race({OURS: lambda: ours.decode(z), "pythae": lambda: theirs.decoder(z)})
        tasks["sample, 1,000 means"] = race(
            {OURS: lambda: ours.sample(1_000, noise=False), "pythae": lambda: sampler.sample(1_000, batch_size=1_000)}
        )
        tasks["ELBO, 1,000 digits"] = race({OURS: lambda: ours.elbo(x), "pythae": lambda: theirs({"data": x}).loss})
    return {task: rounded(seconds) for task, seconds in tasks.items()}


def main() -> None:
    """Run all and write the results."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    images = digits("train", binary=True).images
    keep(
        "vae",
        {
            "machine": machine(),
            "versions": versions("pythae"),
            "parameters": {
                name: sum(p.numel() for p in model.parameters())
                for name, model in ((OURS, make_ours()), ("pythae", make_theirs()))
            },
            "difference": differences(images),
            "seconds": times(images),
        },
    )


if __name__ == "__main__":
    main()
