"""Global SDM (Xiong and De la Torre, CVPR 2015): a linear map for each domain, told by two signs of
the features."""

import torch
from torch import nn

from learned_descent import Recipe, SequentialRidge
from learned_descent.look import eyes_of, probe
from learned_descent.models import LinearStages


class GlobalSDM(LinearStages):
    def __init__(self, problem, observation, sizes: tuple[int, int], *, num_steps: int):
        super().__init__(problem, observation, num_steps)
        self.register_buffer("centres", torch.zeros(num_steps, sizes[0]))
        self.register_buffer("directions", torch.zeros(num_steps, sizes[0], 2))
        maps = [nn.Linear(4 * (sizes[0] + 1), sizes[1], bias=False) for _ in range(num_steps)]
        self.maps = nn.ModuleList(maps)
        for layer in maps:
            nn.init.zeros_(layer.weight)

    @classmethod
    def for_problem(cls, problem, *, observation=None, num_steps: int = 10):
        eyes = observation or eyes_of(problem)
        return cls(problem, eyes, probe(problem, eyes), num_steps=num_steps)

    def init_state(self, x):
        return None

    def step(self, k, features, state):
        return self.maps[k](self.lifted(k, features)), None

    def linear(self, k):
        return self.maps[k]

    def lifted(self, k, features):
        """The features and a one, in the columns of their domain."""
        signs = ((features - self.centres[k]) @ self.directions[k] > 0).long()
        domains = nn.functional.one_hot(signs[:, 0] + 2 * signs[:, 1], 4)
        rows = nn.functional.pad(features, (0, 1), value=1.0)
        return torch.einsum("bd,bf->bdf", domains.to(rows), rows).flatten(1)

    def begin(self, k, measure):
        mean, covariance, _ = measure()
        self.centres[k] = mean
        self.directions[k] = torch.linalg.eigh(covariance).eigenvectors[:, -2:]

    def settings(self):
        sizes = [self.directions.shape[1], self.maps[0].out_features]
        return super().settings() | {"sizes": sizes}


GLOBAL = Recipe(GlobalSDM, trainers={"ridge": SequentialRidge()})
