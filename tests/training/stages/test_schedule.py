from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lidarloop_training.stages.schedule import OneCycleConfig, one_cycle  # noqa: E402


@pytest.mark.parametrize(("num_steps", "warm_up"), [(10, 0.3), (100, 0.4), (37, 0.25), (1000, 0.1)])
def test_agrees_with_torch(num_steps: int, warm_up: float) -> None:
    config = OneCycleConfig(peak_learning_rate=3e-3, warm_up_share=warm_up)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], betas=(0.9, 0.99))
    oracle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=config.peak_learning_rate,
        total_steps=num_steps,
        pct_start=warm_up,
        div_factor=config.start_divisor,
        final_div_factor=config.end_divisor,
        base_momentum=config.beta1[1],
        max_momentum=config.beta1[0],
    )
    for step in range(num_steps):
        now = one_cycle(step, num_steps, config)
        group = optimizer.param_groups[0]
        assert now.learning_rate == pytest.approx(group["lr"], rel=1e-9)
        assert now.beta1 == pytest.approx(group["betas"][0], rel=1e-9)
        optimizer.step()
        if step < num_steps - 1:
            oracle.step()


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_very_short_runs_have_a_schedule(num_steps: int) -> None:
    rates = [one_cycle(step, num_steps, OneCycleConfig()).learning_rate for step in range(num_steps)]
    assert all(0 < rate <= OneCycleConfig().peak_learning_rate for rate in rates)
