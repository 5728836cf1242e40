"""What the programs of single ranks share."""

import os
import sys

import torch.distributed as dist


def leave() -> None:
    """End a rank's program, once all ranks are done.

    Without the teardown of the interpreter, in which a thread of gloo now and then aborts.
    """
    dist.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
