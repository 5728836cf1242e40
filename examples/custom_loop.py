"""A policy-gradient loop of one's own under the monitor: torch, and nothing of TRL.

    acr serve                                            # in another terminal
    python examples/custom_loop.py http://127.0.0.1:8400 my-loop
    acr set my-loop threshold=0.3 temperature=1.2 --reason "while it runs"

The policy is a table of logits, one row for each of 32 prompts, and each prompt has one right
answer of 16. So a batch of groups collapses as one of a language model does: all wrong at first,
all right at the end.
"""

import sys
from pathlib import Path

import torch

from trainer import MonitorClient
from trainer.adapters.session import Session
from trainer.link import MonitorLink

NUM_PROMPTS, NUM_ANSWERS = 32, 16
N, G = 16, 8  # groups of a batch, completions of a group


def train(monitor: MonitorLink, num_steps: int, checkpoint: Path) -> float:
    """The share of right answers in the last batch, in [0, 1]."""
    torch.manual_seed(1)
    table_PA = torch.zeros(NUM_PROMPTS, NUM_ANSWERS, requires_grad=True)
    right_P = torch.randint(NUM_ANSWERS, (NUM_PROMPTS,))
    optimizer = torch.optim.Adam([table_PA], lr=0.1)
    accuracy = 0.0
    # A step takes a millisecond here: without the wait the loop outruns the monitor.
    with Session(monitor, wait_s=5.0, takes_commands=True) as session:
        for _ in range(num_steps):
            temperature = session.begin().temperature or 1.0
            prompts_N = torch.randperm(NUM_PROMPTS)[:N]
            log_probs_NA = (table_PA[prompts_N] / temperature).log_softmax(dim=1)
            answers_NG = torch.multinomial(log_probs_NA.exp(), G, replacement=True)
            rewards_NG = (answers_NG == right_P[prompts_N, None]).float()
            std_N1, mean_N1 = torch.std_mean(rewards_NG, dim=1, keepdim=True)
            advantages_NG = session.step(
                rewards_NG,
                (rewards_NG - mean_N1) / (std_N1 + 1e-4),
                entropy=-(log_probs_NA.exp() * log_probs_NA).sum(dim=1).mean(),
                temperature=temperature,
                knobs={"temperature": temperature},
            )
            loss = -(advantages_NG * log_probs_NA.gather(1, answers_NG)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            accuracy = rewards_NG.mean().item()
            if command := session.command():
                torch.save({"table": table_PA, "session": session.state()}, checkpoint)
                if command.kind == "stop":
                    break
    return accuracy


if __name__ == "__main__":
    url, run_id = sys.argv[1:3]
    client = MonitorClient(url, run_id=run_id)
    reached = train(client, num_steps=100, checkpoint=Path(f"{run_id}.pt"))
    sys.stdout.write(f"accuracy {reached:.2f}\n")
