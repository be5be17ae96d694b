"""No engine makes a step on a gradient that is not a number."""

import pytest
import torch
from ignite.engine import Events
from medvol_r1.training.non_finite import StopAtNonFinite
from monai.engines import SupervisedTrainer


@pytest.mark.parametrize("factor", [float("inf"), float("nan")])
def test_the_step_is_not_made_and_named(factor):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    batch = {"image": torch.ones(3, 2), "label": torch.zeros(3, 1)}
    bad = {"image": torch.ones(3, 2), "label": torch.full((3, 1), factor)}
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[batch, batch, bad, batch],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=torch.nn.MSELoss(),
        decollate=False,
        train_handlers=[StopAtNonFinite()],
    )
    weights = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: weights.append(network[0].weight.clone()))
    with pytest.raises(FloatingPointError, match="Step 3: the gradient is non-finite in 4 of 4 weights.* 0.weight"):
        trainer.run()
    assert torch.equal(network[0].weight, weights[2]) and not torch.equal(weights[1], weights[2])
