"""FedGen's generator of features, a step of its training, and its Adam as a tree of tensors.

Letters in shapes: b samples of a batch, Z noise scalars, C classes, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.core.device import bring
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.engine.server import Server
from gptfl_methods.parts.server_generator import diversity_loss, restored

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps for each weight."""
WEIGHT_DECAY = 1e-2


class FeatureGenerator(nn.Module):
    """FedGen's generator: noise (b, Z) and labels (b,) to features (b, F).

    Args:
        noise: Z, 1 or more.
        hidden: Width of the hidden layer.
        num_classes: C.
        features: F.
    """

    def __init__(self, noise: int, hidden: int, num_classes: int, features: int) -> None:
        super().__init__()
        self.noise = noise
        self.num_classes = num_classes
        self.layers = nn.Sequential(
            nn.Linear(noise + num_classes, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, features),
        )

    def forward(self, noise: Tensor, y: Tensor) -> Tensor:
        """Return features (b, F)."""
        one_hot = F.one_hot(y, self.num_classes).to(noise.dtype)
        made: Tensor = self.layers(torch.cat([noise, one_hot], 1))
        return made

    def sample(self, y: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return uniform noise (b, Z) in [0, 1) and the features made of it for labels (b,)."""
        noise = bring(torch.rand(len(y), self.noise, generator=rng), y.device)
        return noise, self(noise, y)

    @torch.no_grad()
    def features(self, y: Tensor, rng: torch.Generator) -> Tensor:
        """Return features (b, F) for labels (b,), through which no gradient flows."""
        return self.sample(y, rng)[1]


def revived(tree: Tree, num_classes: int, device: torch.device) -> FeatureGenerator:
    """Return a generator with copies of ``tree``, which tells its sizes."""
    hidden, inputs = tree["layers.0.weight"].shape
    sizes = (inputs - num_classes, hidden, num_classes, len(tree["layers.3.bias"]))
    return restored(lambda: FeatureGenerator(*sizes), tree, device)


def feature_count(server: Server, state: Groups) -> int:
    """Return F, the features that the encoder of a state's model makes of a sample."""
    encoder = server.new_model(state).eval().get_submodule("encoder")
    with torch.no_grad():
        return int(encoder(torch.zeros(1, *server.input_shape, device=server.device)).shape[1])


def no_moments(generator: nn.Module) -> Tree:
    """Return what Adam keeps for a generator before its first step."""
    return {
        f"{name}.{key}": torch.zeros(() if key == "step" else weight.shape)
        for name, weight in generator.named_parameters()
        for key in MOMENTS
    }


def train(
    generator: FeatureGenerator,
    moments: Tree,
    heads: Sequence[nn.Module],
    drawn: Tensor,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    rng: torch.Generator,
) -> Tree:
    """Train a generator in place towards features that the clients' heads tell apart.

    Args:
        generator: Left in training mode.
        moments: What Adam kept in the rounds before.
        heads: From features (b, F) to logits (b, C), one a client; they stay as they are.
        drawn: How often each client drew each label, (m, C), not all 0; labels that no client
            drew are not made.
        steps: Steps of Adam.
        batch_size: Features in a step.
        lr: Step size.
        rng: Draws labels and noise.

    Returns:
        What Adam keeps for the next round.
    """
    generator.train()
    adam = _adam(generator, moments, lr)
    device = next(generator.parameters()).device
    weights = label_weights(drawn).to(device)
    qualified = drawn.sum(0).nonzero()[:, 0].to(device)
    for _ in range(steps):
        y = qualified[bring(torch.randint(len(qualified), (batch_size,), generator=rng), device)]
        noise, made = generator.sample(y, rng)
        loss = diversity_loss(noise, made)
        for head, weight in zip(heads, weights, strict=True):
            loss = loss + (weight[y] * F.cross_entropy(head(made), y, reduction="none")).mean()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return {
        f"{name}.{key}": adam.state[weight][key].detach().to("cpu", copy=True)
        for name, weight in generator.named_parameters()
        for key in MOMENTS
    }


def label_weights(drawn: Tensor) -> Tensor:
    """Return how much each client's head counts for each label, (m, C); columns sum to one.

    Args:
        drawn: How often each client drew each label, (m, C). One is added, so that a label that
            no client drew has equal weights.
    """
    return (1 + drawn) / (1 + drawn).sum(0)


def _adam(generator: nn.Module, moments: Tree, lr: float) -> torch.optim.Adam:
    adam = torch.optim.Adam(generator.parameters(), lr, weight_decay=WEIGHT_DECAY)
    state = {
        index: {key: moments[f"{name}.{key}"].clone() for key in MOMENTS}
        for index, (name, _) in enumerate(generator.named_parameters())
    }
    adam.load_state_dict({**adam.state_dict(), "state": state})
    return adam
